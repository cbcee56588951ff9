"""`starmill export`: the data of a run, with the provenance of each row."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from producer.cli.common import Only, RunArgument, messages, open_ledger
from producer.export import Layout, Selection, heed_filters, parse_splits, select_rows, write_rows
from producer.quality import named_filters
from storage.ledger import planning
from storage.schema import FINISHED


class What(StrEnum):
    SYNTHETIC = "synthetic"
    ANSWERS = "answers"
    FAILURES = "failures"
    GENERATIONS = "generations"


class Format(StrEnum):
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
    format_: Annotated[Format, typer.Option("--format", help="of the file")] = Format.JSONL,
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
    filters = None if filter_ is None else named_filters(filter_)
    selection = Selection(what.value, style.value, only is not None, format_.value, filters)
    layout = Layout(parse_splits(split) if split else {}, split_seed, shuffle)
    layout.check(selection.what)
    out = messages()
    with open_ledger() as db:
        chosen = planning.load_run(db, run)
        selection = heed_filters(db, chosen, selection)
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
