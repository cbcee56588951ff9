"""`starmill ledger`: move, back up, restore and shrink the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from producer.cli.common import open_ledger
from producer.safe_console import messages
from storage import ledger_copy
from storage.answer_journal import journal_folder, take_in_answers
from storage.database import Database
from storage.ledger_sizes import ledger_bytes, megabytes
from storage.settings import load_settings


def move(
    url: Annotated[str, typer.Argument(metavar="URL", help="an empty database: postgresql:// or sqlite:///")],
) -> None:
    """Copy the ledger to another database while nothing runs, such as from SQLite to PostgreSQL. Runs that
    have not ended are interrupted in the old one."""
    settings = load_settings()
    with open_ledger(settings) as source, _database(url) as target:
        take_in_answers(source, journal_folder(settings), source.clock())
        counts = ledger_copy.move(source, target, source.clock())
        _print_counts(counts)
        messages().print(
            f"set STARMILL_DATABASE_URL to the URL of {target} for producers and workers; "
            f"{source} is left as it was, but for its runs, which are interrupted there"
        )


def backup(file: Annotated[Path, typer.Argument(metavar="FILE", help="a new file")]) -> None:
    """Write the whole ledger as it is now into a new SQLite file, also while runs go on."""
    with _database(load_settings().database) as db:
        ledger_copy.back_up(db, file)
    messages().print(f"{file}: {megabytes(file.stat().st_size)}; `starmill ledger restore {file}` reads it")


def restore(file: Annotated[Path, typer.Argument(metavar="FILE", help="a file of `ledger backup`")]) -> None:
    """Read a backup into the ledger of the settings, which must be new."""
    with _database(load_settings().database) as db:
        _print_counts(ledger_copy.restore(file, db))


def vacuum() -> None:
    """Give back the space of deleted rows. SQLite writes its file anew: let nothing run meanwhile."""
    with open_ledger() as db:
        before = ledger_bytes(db)
        ledger_copy.vacuum(db)
        messages().print(f"{db}: {megabytes(before)} before, {megabytes(ledger_bytes(db))} now")


@contextmanager
def _database(url: str) -> Iterator[Database]:
    db = Database(url)
    try:
        yield db
    finally:
        db.close()


def _print_counts(counts: Mapping[str, int]) -> None:
    rows = ", ".join(f"{name} {number:,}" for name, number in counts.items() if number)
    messages().print(f"rows copied: {rows or 'none'}")
