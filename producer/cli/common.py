"""Options, the open ledger and output that commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer

from models.core.display import visible_json
from models.core.errors import UsageError
from storage.database import Database
from storage.ledger import counts
from storage.ledger import runs as ledger_runs
from storage.ledger.runs import Run
from storage.settings import Settings, load_settings

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="a run, or the beginning of its name")]
OptionalRun = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="a run, or the beginning of its name; default: the newest"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")]
ExperimentArgument = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="a preset or a YAML file")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a value of the experiment")
]
# Wider than any row with the detail of an error, 2,000 characters, which may all be escapes.
DETAIL_WIDTH = 20_000


class Only(StrEnum):
    """Rows of a synthetic set that a command looks at."""

    ACCEPTED = "accepted"


class ReportFormat(StrEnum):
    """Formats of a report."""

    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"
    JSON = "json"
    HTML = "html"


@contextmanager
def open_ledger(settings: Settings | None = None, **options: int) -> Iterator[Database]:
    """Open the ledger and bring its schema up to date. `options` are those of Database."""
    db = Database((settings or load_settings()).database, **options)
    try:
        db.migrate()
        yield db
    finally:
        db.close()


def find_run(db: Database, run_id: str | None) -> Run:
    """Return the named run, or the newest. Raise UsageError if there are none."""
    if run_id:
        return ledger_runs.load_run(db, run_id)
    runs = counts.run_summaries(db)
    if not runs:
        raise UsageError(f"no runs yet in {db}; `starmill run demo --local` makes one")
    return ledger_runs.load_run(db, runs[0].id)


def print_json(value: dict[str, Any]) -> None:
    # An encoding without all letters gets the escapes of JSON.
    only_ascii = (sys.stdout.encoding or "utf-8").lower() not in ("utf-8", "utf8")
    sys.stdout.write(visible_json(json.dumps(value, ensure_ascii=only_ascii, indent=2)) + "\n")
