"""`starmill report`, `diff` and `show`: what a run produced."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from models.core.display import visible_values
from models.core.errors import UsageError
from producer.cli.common import JsonOption, ReportFormat, RunArgument, open_ledger, print_json
from producer.files import replacing_file
from producer.results.diff import diff_runs
from producer.results.diff_text import diff_document, diff_tables
from producer.results.history import history_document
from producer.results.history_text import history_lines
from producer.results.report.build import build_report
from producer.results.report.formats import RENDERERS
from producer.safe_console import console, messages
from storage.ledger import runs
from storage.ledger.history import example_histories, similar_question_ids


def report(
    run: RunArgument,
    format_: Annotated[
        ReportFormat, typer.Option("--format", help="of the whole report")
    ] = ReportFormat.MARKDOWN,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="default: standard output")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="add a table by this column of the data, or by library, unseen, reference_length or "
            "passage_retrieved; may be repeated",
        ),
    ] = None,
) -> None:
    """Show what the steps did and cost and how rows were judged, or ablation tables with their intervals.
    Each format has the same numbers; html also has plots and single rows."""
    with open_ledger() as db:
        report = build_report(db, runs.load_run(db, run), by or (), page=format_ == "html")
        text = RENDERERS[format_](report)
    if output is None:
        sys.stdout.write(text)
        return
    with replacing_file(output) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    messages().print(f"wrote {output}", markup=False)


def diff(
    first: Annotated[str, typer.Argument(metavar="RUN", help="a run, or the beginning of its name")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="the run that is compared with it")],
    json_: JsonOption = False,
) -> None:
    """Show which keys differ between two runs, which rows flipped, and what either cost. Scores have their
    difference with interval, p and the least visible difference."""
    with open_ledger() as db:
        difference = diff_runs(db, runs.load_run(db, first), runs.load_run(db, second))
    if json_:
        print_json(diff_document(difference))
        return
    for table in diff_tables(difference):
        console().print(table)


def show(
    run: RunArgument,
    question_id: Annotated[
        str,
        typer.Argument(
            metavar="QUESTION_ID", help="as it stands in the data; without ids a row's number from 0"
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Show what was asked, retrieved, answered, judged and paid for one example."""
    with open_ledger() as db:
        chosen = runs.load_run(db, run)
        histories = example_histories(db, chosen.id, question_id)
        if not histories:
            alike = similar_question_ids(db, chosen.id, question_id)
            remedy = f"near ones: {', '.join(alike)}" if alike else "`starmill export` writes all rows"
            raise UsageError(f"run {chosen.id} has no question or row {question_id!r}; {remedy}")
        document = history_document(chosen, histories)
    if as_json:
        print_json(document)
        return
    out = console()
    # The defaults of git: quit if all fits on the screen, keep colours, leave the text there.
    os.environ.setdefault("LESS", "FRX")
    with out.pager(styles=True) if out.is_terminal else nullcontext():
        for line in history_lines(visible_values(document), wrap=out.is_terminal):
            out.print(line)
