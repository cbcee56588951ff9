"""`starmill export`: the rows of a run as a file, a folder or a dataset on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from models.adapters.private_files import private_folder
from models.core.errors import UsageError
from producer.cli.common import Only, RunArgument, open_ledger
from producer.results.export.columns import Tally
from producer.results.export.selection import RowKind, RowSelection, apply_filters, select_rows
from producer.results.export.splits import Layout, parse_splits
from producer.results.export.writers import write_rows
from producer.results.quality import parse_filters
from producer.safe_console import messages
from storage.ledger import runs
from storage.ledger.counts import funnel
from storage.ledger.row_counts import RowCounts, row_counts
from storage.ledger.runs import Run
from storage.schema import FINISHED
from storage.settings import load_settings


class What(StrEnum):
    SYNTHETIC = "synthetic"
    ANSWERS = "answers"
    ROWS = "rows"
    PAIRS = "pairs"
    FAILURES = "failures"
    GENERATIONS = "generations"


class ExportFormat(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    HF = "hf"


class Style(StrEnum):
    RAW = "raw"
    CHAT = "chat"


class PromptPart(StrEnum):
    PASSAGES = "passages"
    SEEDS = "seeds"


def export(
    run: RunArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PATH", help="file to write; for hf or splits, a folder"),
    ] = None,
    what: Annotated[
        What | None,
        typer.Option(
            help="which rows; default: rows of a pipeline of steps, else synthetic", show_default=False
        ),
    ] = None,
    format_: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="of the file; default: by its ending, else jsonl", show_default=False),
    ] = None,
    style: Annotated[
        Style, typer.Option(help="synthetic rows as they are, or as messages for fine-tuning")
    ] = Style.RAW,
    with_: Annotated[
        list[PromptPart] | None,
        typer.Option("--with", help="show what prompts leave out otherwise; may be repeated"),
    ] = None,
    only: Annotated[Only | None, typer.Option(help="only rows that a judge or a vote accepts")] = None,
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
    push: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="upload a dataset, with a card, to the Hugging Face Hub"),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="with --push: everybody may read a new dataset")
    ] = False,
) -> None:
    """Write what a run produced to a file, complete or not at all, or push it to the Hugging Face Hub
    with the token in HF_TOKEN. Each row has its provenance."""
    chosen_format = _check_target(output, format_, push, public)
    filters = None if filter_ is None else parse_filters(filter_)
    layout = Layout(parse_splits(split) if split else {}, split_seed, shuffle)
    with open_ledger() as db:
        chosen = runs.load_run(db, run)
        kind: RowKind = what.value if what else "rows" if chosen.experiment.steps else "synthetic"
        selection = RowSelection(
            kind, style.value, only is not None, chosen_format.value, filters, reasoning=reasoning,
            shown=frozenset(part.value for part in with_ or ()),
        )  # fmt: skip
        selection.check_run(chosen)
        layout.check(kind, of_steps=bool(chosen.experiment.steps))
        with _pushed(push, output, public) as path:
            selection = apply_filters(db, chosen, selection)
            rows = select_rows(db, chosen, selection)
            written = write_rows(db, chosen, rows, path, selection, layout)
            so_far = row_counts(db, chosen, funnel(db, chosen.id, db.clock()))
            _print(chosen, written, f" to {output}" if output else "", layout, selection, so_far)
            if push and not written.total:
                raise UsageError(f"--push {push}: there is nothing to push")


def _check_target(
    output: Path | None, format_: ExportFormat | None, push: str | None, public: bool
) -> ExportFormat:
    """Return the format. Raise UsageError if there is nowhere to write to, or the format cannot be pushed."""
    if push is None:
        if output is None or public:
            raise UsageError("--public goes with --push NAME" if public else "give -o PATH, or --push NAME")
        return format_ or _format_of(output)
    if format_ not in (None, ExportFormat.HF):
        raise UsageError(f"--push uploads the folder of --format hf; leave --format {format_} out")
    return ExportFormat.HF


# Files of these endings are read as something that no export is.
OTHER_ENDINGS = ("gz", "bz2", "xz", "zst", "zip", "tsv", "xlsx", "arrow")


def _format_of(path: Path) -> ExportFormat:
    """Return the format that the ending of a file names."""
    ending = path.suffix.removeprefix(".")
    if ending in OTHER_ENDINGS:
        raise UsageError(
            f"-o {path}: no export is .{ending}; end it in .jsonl, .csv or .parquet, or give --format"
        )
    files = (ExportFormat.JSONL, ExportFormat.CSV, ExportFormat.PARQUET)
    return next((each for each in files if each.value == ending), ExportFormat.JSONL)


@contextmanager
def _pushed(name: str | None, output: Path | None, public: bool) -> Iterator[Path]:
    """Yield the path to write to. With a name, its folder is uploaded at the end, and removed unless it is
    `output`."""
    if name is None:
        assert output
        yield output
        return
    from producer.results.export.hub import HubDataset  # with a client of the Hub

    dataset = HubDataset.create(name, public=public)
    home = private_folder(load_settings().root)
    with TemporaryDirectory(prefix=".push-", dir=home) as folder:
        path = output or Path(folder, "dataset")
        yield path
        messages().print(f"pushed to {dataset.upload(path)}", markup=False)


def _print(
    run: Run, written: Tally, where: str, layout: Layout, selection: RowSelection, so_far: RowCounts
) -> None:
    out = messages()
    out.print(f"wrote {written.total:,} rows{where}", markup=False)
    if layout.splits:
        out.print(", ".join(f"{name} {written.splits[name]:,}" for name in layout.splits), markup=False)
    if selection.left_out.counts:
        out.print(str(selection.left_out), markup=False)
    if not written.total:
        why = (
            "no rows that these options leave" if _narrows(selection) else "no rows of this kind, or none yet"
        )
        out.print(f"run {run.id} has {why}", markup=False)
    if run.state != FINISHED:
        out.print(f"run {run.id} is {run.state}: {so_far} so far", markup=False)


def _narrows(selection: RowSelection) -> bool:
    return selection.accepted or bool(selection.left_out.counts)
