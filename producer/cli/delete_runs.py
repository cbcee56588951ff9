"""`starmill runs delete` and `starmill runs prune`: delete runs from the ledger."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from models.core.errors import UsageError
from producer.cli.common import JsonOption, open_ledger, print_json
from producer.safe_console import confirm, messages
from storage.database import Database
from storage.ledger import deletion
from storage.ledger import runs as ledger_runs
from storage.ledger_sizes import bytes_of_rows, megabytes

YesOption = Annotated[bool, typer.Option("--yes", help="do not ask")]
GenerationsOption = Annotated[
    bool, typer.Option("--generations", help="delete the answers that no other run uses, too")
]


def delete(
    run: Annotated[list[str], typer.Argument(metavar="RUN...", help="runs, or beginnings of their names")],
    generations: GenerationsOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete runs with their units, rejections and counts. Answers that were bought stay for other runs."""
    with open_ledger() as db:
        chosen = list(dict.fromkeys(ledger_runs.find_id(db, each) for each in run))
        _delete(db, chosen, generations, yes, as_json)


def prune(
    days: Annotated[
        float, typer.Option("--older-than", metavar="DAYS", min=0, help="ended or left before so many days")
    ],
    generations: GenerationsOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete all runs that ended, or were left, long ago, and what interrupted deletions left."""
    with open_ledger() as db:
        _delete(db, deletion.idle_runs(db, days, db.clock()), generations, yes, as_json)


def _delete(db: Database, run_ids: Sequence[str], answers: bool, yes: bool, as_json: bool) -> None:
    deletion.require_idle(db, run_ids, db.clock())
    if run_ids and not yes:
        _confirm(db, run_ids, answers)
    gone = deletion.delete_runs(db, run_ids, db.clock(), answers=answers)
    if as_json:
        print_json({"runs": list(run_ids), "deleted": dict(gone)})
        return
    rows = ", ".join(f"{name} {number:,}" for name, number in gone.items())
    messages().print(f"rows deleted: {rows or 'none'}")
    if db.is_sqlite and gone:
        messages().print("the file has room for new rows now; `starmill ledger vacuum` makes it smaller")


def _confirm(db: Database, run_ids: Sequence[str], answers: bool) -> None:
    """Say what goes, and ask. Raise typer.Abort if it is to stay, UsageError where nobody can be asked."""
    counted = deletion.count_rows(db, run_ids)
    for each in counted:
        kept = "which go unless another run uses them" if answers else "which stay for other runs"
        messages().print(f"{each.run_id}: {each.units:,} units; {each.answers:,} answers bought, {kept}")
    rows = {
        "unit": sum(each.units for each in counted),
        "rejection": sum(each.rejections for each in counted),
        "generation": sum(each.answers for each in counted) if answers else 0,
    }
    freed = bytes_of_rows(db, rows)
    size = f", about {megabytes(freed)}" if freed is not None else ""
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask; give --yes to delete")
    confirm(f"delete {len(run_ids):,} runs{size}?")
