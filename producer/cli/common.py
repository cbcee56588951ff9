"""Options, the open ledger and output that commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import Progress
from rich.segment import Segment
from rich.text import Text

from models.core.display import visible, visible_json
from models.core.errors import UsageError
from storage.database import Database
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
PLAIN_WIDTH = 1000
# Wider than any row with the detail of an error, 2,000 characters, which may all be escapes.
DETAIL_WIDTH = 20_000


class VisibleConsole(Console):
    """A console that shows what servers, models and data send to steer a terminal, and does not send it."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Escape before the layout, so that widths are right."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Escape what came as another object than a text. Controls of rich itself stay."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)


class Only(StrEnum):
    """Rows of a synthetic set that a command looks at."""

    ACCEPTED = "accepted"


def console(plain_width: int = PLAIN_WIDTH) -> Console:
    """Return standard output; plain text if it is not a terminal."""
    return _console(sys.stdout, plain_width)


def messages() -> Console:
    """Return standard error, for everything that is not the result."""
    return _console(sys.stderr)


def progress_bar() -> Progress:
    """Return a progress bar on standard error. It is hidden if that is not a terminal."""
    out = messages()
    return Progress(console=out, transient=True, disable=not out.is_terminal)


def _console(stream: TextIO, plain_width: int = PLAIN_WIDTH) -> Console:
    # Rows hold code: its brackets are no markup. A file or a pipe has no width to wrap at.
    wraps = stream.isatty()
    return VisibleConsole(
        file=stream, markup=False, emoji=False, highlight=False,
        soft_wrap=not wraps, width=None if wraps else plain_width,
    )  # fmt: skip


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
    runs = ledger_runs.list_runs(db)
    if not runs:
        raise UsageError(f"no runs yet in {db}; `starmill run demo --local` makes one")
    return runs[0]


def print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(visible_json(json.dumps(value, ensure_ascii=False, indent=2)) + "\n")
