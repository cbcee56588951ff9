"""`starmill report`, `export`, `diff` and `show`: what a run produced."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from models.core.display import visible_values
from models.core.errors import UsageError
from producer.cli.common import JsonOption, Only, RunArgument, console, messages, open_ledger, print_json
from producer.files import replacing_file
from producer.results.diff import diff_runs
from producer.results.diff_text import diff_document, diff_tables
from producer.results.export.selection import RowSelection, apply_filters, select_rows
from producer.results.export.splits import Layout, parse_splits
from producer.results.export.writers import write_rows
from producer.results.history import history_document
from producer.results.history_text import history_lines
from producer.results.quality import parse_filters
from producer.results.report.build import build_report
from producer.results.report.formats import RENDERERS
from storage.ledger import runs
from storage.ledger.history import example_histories, similar_question_ids
from storage.schema import FINISHED


class ReportFormat(StrEnum):
    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"
    JSON = "json"
    HTML = "html"


def report(
    run: RunArgument,
    format_: Annotated[
        ReportFormat, typer.Option("--format", help="of the whole report")
    ] = ReportFormat.MARKDOWN,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="default: standard output")
    ] = None,
) -> None:
    """Show ablation tables with confidence intervals, and what the synthetic set consists of."""
    with open_ledger() as db:
        text = RENDERERS[format_](build_report(db, runs.load_run(db, run)))
    if output is None:
        sys.stdout.write(text)
        return
    with replacing_file(output) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    messages().print(f"wrote {output}", markup=False)


class What(StrEnum):
    SYNTHETIC = "synthetic"
    ANSWERS = "answers"
    FAILURES = "failures"
    GENERATIONS = "generations"


class ExportFormat(StrEnum):
    JSONL = "jsonl"
    PARQUET = "parquet"
    HF = "hf"


class Style(StrEnum):
    RAW = "raw"
    CHAT = "chat"


def export(
    run: RunArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="file to write; for hf or splits, a folder")
    ],
    what: Annotated[What, typer.Option(help="which rows")] = What.SYNTHETIC,
    format_: Annotated[ExportFormat, typer.Option("--format", help="of the file")] = ExportFormat.JSONL,
    style: Annotated[
        Style, typer.Option(help="synthetic rows as they are, or as messages for fine-tuning")
    ] = Style.RAW,
    only: Annotated[Only | None, typer.Option(help="only synthetic rows whose rationale is correct")] = None,
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="NAME,NAME",
            help="leave out rows that these filters mark; all, or none of the experiment's own",
        ),
    ] = None,
    reasoning: Annotated[
        bool, typer.Option("--reasoning", help="add what the model thought aloud, in a column of its own")
    ] = False,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=SHARE,...", help="splits that share no question: train=0.9,validation=0.1"
        ),
    ] = None,
    split_seed: Annotated[int, typer.Option(metavar="N", help="other questions in each split")] = 0,
    shuffle: Annotated[
        int | None,
        typer.Option(metavar="SEED", help="an order that the seed decides; default: the dataset's"),
    ] = None,
) -> None:
    """Write synthetic data, answers, failures or generations to a file, complete or not at all."""
    filters = None if filter_ is None else parse_filters(filter_)
    selection = RowSelection(
        what.value, style.value, only is not None, format_.value, filters, reasoning=reasoning
    )
    layout = Layout(parse_splits(split) if split else {}, split_seed, shuffle)
    layout.check(selection.what)
    out = messages()
    with open_ledger() as db:
        chosen = runs.load_run(db, run)
        selection = apply_filters(db, chosen, selection)
        rows = select_rows(db, chosen, selection)
        written = write_rows(db, chosen, rows, output, selection, layout)
    out.print(f"wrote {written.total:,} rows to {output}", markup=False)
    if layout.splits:
        out.print(", ".join(f"{name} {written.splits[name]:,}" for name in layout.splits), markup=False)
    if selection.left_out.counts:
        out.print(str(selection.left_out), markup=False)
    if not written.total:
        out.print(f"run {chosen.id} has no rows of this kind, or none yet", markup=False)
    if chosen.state != FINISHED:
        out.print(f"run {chosen.id} is {chosen.state}: these are the rows done so far", markup=False)


def diff(
    first: Annotated[str, typer.Argument(metavar="RUN", help="a run, or the beginning of its name")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="the run that is compared with it")],
    json_: JsonOption = False,
) -> None:
    """Show which keys differ between two runs, which rows flipped, and what either cost."""
    with open_ledger() as db:
        difference = diff_runs(db, runs.load_run(db, first), runs.load_run(db, second))
    if json_:
        print_json(diff_document(difference))
        return
    for table in diff_tables(difference):
        console().print(table)


def show(
    run: RunArgument,
    question_id: Annotated[str, typer.Argument(metavar="QUESTION_ID", help="as it stands in the dataset")],
    as_json: JsonOption = False,
) -> None:
    """Show what was asked, retrieved, answered, judged and paid for one example."""
    with open_ledger() as db:
        chosen = runs.load_run(db, run)
        histories = example_histories(db, chosen.id, question_id)
        if not histories:
            alike = similar_question_ids(db, chosen.id, question_id)
            remedy = f"near ones: {', '.join(alike)}" if alike else "`starmill export` writes all ids"
            raise UsageError(f"run {chosen.id} has no question {question_id!r}; {remedy}")
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
