"""`starmill show`: the whole life of one example."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Annotated

import typer

from models.errors import UsageError
from producer.cli.common import JsonOption, RunArgument, console, open_ledger, print_json
from producer.showing import facts, lines
from storage.ledger import planning
from storage.ledger.lives import lives, near


def show(
    run: RunArgument,
    question_id: Annotated[str, typer.Argument(metavar="QUESTION_ID", help="as it stands in the dataset")],
    as_json: JsonOption = False,
) -> None:
    """Show what was asked, found, answered, judged and paid for one example."""
    with open_ledger() as db:
        chosen = planning.load_run(db, run)
        found = lives(db, chosen.id, question_id)
        if not found:
            alike = near(db, chosen.id, question_id)
            remedy = f"near ones: {', '.join(alike)}" if alike else "`starmill export` writes all ids"
            raise UsageError(f"run {chosen.id} has no question {question_id!r}; {remedy}")
        told = facts(chosen, found)
    if as_json:
        print_json(told)
        return
    out = console()
    # As git does: quit where all fits on the screen, keep colours, leave the text there.
    os.environ.setdefault("LESS", "FRX")
    with out.pager(styles=True) if out.is_terminal else nullcontext():
        for line in lines(told, folds=out.is_terminal):
            out.print(line)
