"""`starmill quality` and `starmill data quality`: what filters mark, with examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from models.core.errors import UsageError
from models.core.experiment.experiment import Experiment
from models.core.experiment.options import FILTERS, Quality
from producer.cli.common import (
    JsonOption,
    Only,
    OptionalRun,
    console,
    find_run,
    messages,
    open_ledger,
    print_json,
)
from producer.experiments import load_experiment
from producer.experiments.datasets import read_dataset
from producer.files import replacing_file
from producer.results.quality import (
    ALL,
    DatasetSet,
    Findings,
    MarkedRow,
    QualityRows,
    SyntheticSet,
    judge,
    named_filters,
    shown,
)

# Of a dataset there is no teacher to be told a hint, nor a vote.
OF_DATASETS = ("exact", "code", "near", "contamination", "length", "script")
SHOWN = 110
FilterOption = Annotated[
    str, typer.Option("--filter", metavar="NAME,NAME", help="which filters look; default: all")
]
MarksOption = Annotated[
    Path | None, typer.Option("-o", metavar="FILE.jsonl", help="write each marked row with its marks")
]


def quality(
    run: OptionalRun = None,
    only: Annotated[Only | None, typer.Option(help="only rows whose rationale is correct")] = None,
    filter_: FilterOption = ALL,
    output: MarksOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the rows of a synthetic set that each filter marks, with examples; nothing is deleted."""
    names = named_filters(filter_)
    with open_ledger() as db:
        chosen = find_run(db, run)
        rows = SyntheticSet(db, chosen, only is not None)
        _tell({"run": chosen.id}, rows, chosen.experiment, names, output, as_json)


def data_quality(
    experiment: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="a preset or a YAML file")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="change a value of the experiment"),
    ] = None,
    filter_: FilterOption = ALL,
    output: MarksOption = None,
    as_json: JsonOption = False,
) -> None:
    """Duplicates among the train rows of an experiment, and what of its test split stands in them."""
    chosen = load_experiment(experiment, set_ or [])
    names = OF_DATASETS if filter_ == ALL else named_filters(filter_)
    if lacking := [name for name in names if name not in OF_DATASETS]:
        known = ", ".join(OF_DATASETS)
        raise UsageError(f"--filter {lacking[0]}: no teacher has written rows of a dataset; take {known}")
    rows = DatasetSet(read_dataset(chosen.dataset))
    _tell({"experiment": chosen.name}, rows, chosen, names, output, as_json)


def _tell(
    head: dict[str, Any],
    rows: QualityRows,
    experiment: Experiment,
    names: Any,
    output: Path | None,
    as_json: bool,
) -> None:
    settings = experiment.quality
    found = judge(rows, settings, names, experiment.rationale.correctness)
    examples = shown(rows, found)
    if output:
        _write_marks(output, rows, found)
    if as_json:
        print_json({**head, **_document(found, settings, examples)})
    else:
        _print(head, found, settings, examples)


def _document(found: Findings, settings: Quality, examples: dict[str, list[MarkedRow]]) -> dict[str, Any]:
    return {
        "rows": found.rows,
        "right": found.right,
        "test_rows": found.test_rows,
        "test_rows_repeated": found.test_rows_repeated(),
        "heeded": list(settings.heeded),
        "right_left": found.left(settings.heeded),
        "filters": {
            name: {
                "marked": len(found.marked(name)),
                "right_marked": found.of_right(name),
                "kinds": found.kinds(name),
                "examples": [_example(each) for each in examples.get(name, ())],
            }
            for name in found.names
        },
    }


def _example(each: MarkedRow) -> dict[str, Any]:
    candidate = each.row.candidate
    return {
        "row": each.row.number,
        "question_id": each.row.question_id,
        "why": each.mark.why,
        "request": candidate.request,
        "text": candidate.rationale or candidate.code,
        "other_row": each.other_row,
        "other": each.other or None,
    }


def _print(
    head: dict[str, Any], found: Findings, settings: Quality, examples: dict[str, list[MarkedRow]]
) -> None:
    out = console()
    [(what, name)] = head.items()
    of_run = f" with a rationale, {found.right:,} of them right" if what == "run" else " of the train split"
    out.print(f"{what} {name}: {found.rows:,} rows{of_run}; {found.test_rows:,} rows of the test split")
    table = Table("filter", box=None, pad_edge=False)
    for heading in ("marked", "right ones") if what == "run" else ("marked",):
        table.add_column(heading, justify="right")
    table.add_column("heeded")
    table.add_column("a marked row ...")
    for each in found.names:
        right = [f"{found.of_right(each):,}"] if what == "run" else []
        heeded = "yes" if each in settings.heeded else "no"
        table.add_row(each, f"{len(found.marked(each)):,}", *right, heeded, FILTERS[each])
    out.print(table)
    for each in found.names:
        if several := examples.get(each):
            out.print()
            out.print(_heading(each, found))
            for one in several:
                _print_example(one)
    if what == "run":
        heeded = ", ".join(settings.heeded) or "no filter (set `quality` in the experiment)"
        out.print()
        out.print(f"export --only accepted heeds {heeded}: {found.left(settings.heeded):,} rows are left")


def _heading(name: str, found: Findings) -> str:
    kinds = ", ".join(f"{kind} {number:,}" for kind, number in found.kinds(name).items())
    tests = f"; {found.test_rows_repeated():,} test rows are repeated" if name == "contamination" else ""
    return f"{name}{': ' if kinds else ''}{kinds}{tests}"


def _print_example(each: MarkedRow) -> None:
    out = console()
    candidate = each.row.candidate
    out.print(f"  row {each.row.number} ({each.row.question_id}) {each.mark.why}")
    out.print(f"    {_short(f'{candidate.request} => {candidate.rationale or candidate.code}')}")
    if each.other:
        split = "test row" if each.mark.filter == "contamination" else "row"
        out.print(f"    {split} {each.other_row}: {_short(' => '.join(each.other.split(chr(10), 1)))}")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."


def _write_marks(path: Path, rows: QualityRows, found: Findings) -> None:
    """A line for each marked row: its place in the dataset, and why each filter marks it."""
    marks = iter(found.marks)
    mark = next(marks, None)
    written = 0
    with replacing_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for place, row in enumerate(rows):
            why: dict[str, str] = {}
            while mark and mark.place == place:
                why[mark.filter] = mark.why
                mark = next(marks, None)
            if why:
                line = {"row": row.number, "question_id": row.question_id, "correct": row.right, "marks": why}
                file.write(json.dumps(line) + "\n")
                written += 1
    messages().print(f"wrote the marks of {written:,} rows to {path}")
