"""`starmill report`: what a run found."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from producer.cli.common import RunArgument, messages, open_ledger
from producer.files import replacing_file
from producer.report import RENDERERS, build_report
from storage.ledger import planning


class Format(StrEnum):
    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"
    JSON = "json"
    HTML = "html"


def report(
    run: RunArgument,
    format_: Annotated[Format, typer.Option("--format", help="of the whole report")] = Format.MARKDOWN,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="default: standard output")
    ] = None,
) -> None:
    """Show ablation tables with confidence intervals, and what the synthetic set consists of."""
    with open_ledger() as db:
        text = RENDERERS[format_](build_report(db, planning.load_run(db, run)))
    if output is None:
        sys.stdout.write(text)
        return
    with replacing_file(output) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    messages().print(f"wrote {output}", markup=False)
