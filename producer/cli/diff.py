"""`starmill diff`: what changed from one run to another."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.cli.common import JsonOption, console, open_ledger, print_json
from producer.comparing import compare, tables
from producer.comparing.terminal import as_json
from storage.ledger import planning


def diff(
    first: Annotated[str, typer.Argument(metavar="RUN", help="a run, or the beginning of its name")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="the run that is compared with it")],
    json_: JsonOption = False,
) -> None:
    """Show which keys differ between two runs, which rows flipped, and what either cost."""
    with open_ledger() as db:
        found = compare(db, planning.load_run(db, first), planning.load_run(db, second))
    if json_:
        print_json(as_json(found))
        return
    for table in tables(found):
        console().print(table)
