"""`starmill quality` and `starmill data quality`: the rows that filters mark, with examples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from models.core.errors import UsageError
from models.core.experiment.experiment import Experiment
from models.core.experiment.quality_filters import FILTERS, Quality
from models.core.quality.filters import OF_TEST
from producer.cli.common import (
    ExperimentArgument,
    JsonOption,
    Only,
    OptionalRun,
    SetOption,
    find_run,
    open_ledger,
    print_json,
)
from producer.experiments.datasets import read_dataset
from producer.experiments.load import load_experiment
from producer.files import replacing_file
from producer.results.quality import (
    ALL,
    DatasetSet,
    MarkedRow,
    QualityFindings,
    QualityRowSet,
    StepTexts,
    SyntheticSet,
    find_marks,
    mark_examples,
    parse_filters,
)
from producer.safe_console import console, messages

# The other filters look at what a teacher wrote; a dataset has no hints and no votes.
OF_STEPS = ("exact", "near", "length", "script")
OF_DATASETS = ("exact", "code", "near", "contamination", "masked", "length", "script")
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
    """Count the rows of a synthetic set, or the last texts of a pipeline of steps, that each filter marks."""
    names = parse_filters(filter_)
    with open_ledger() as db:
        chosen = find_run(db, run)
        rows: QualityRowSet = SyntheticSet(db, chosen, only is not None)
        if chosen.experiment.steps:
            rows = StepTexts(db, chosen, only is not None)
            names = OF_STEPS if filter_ == ALL else names
            _refuse_others(names, OF_STEPS, "looks at rationales and references, which steps do not have")
        _report({"run": chosen.id}, rows, chosen.experiment, names, output, as_json)


def data_quality(
    experiment: ExperimentArgument,
    set_: SetOption = None,
    filter_: FilterOption = ALL,
    output: MarksOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find duplicates among the train rows of an experiment, and rows of its test split in them."""
    chosen = load_experiment(experiment, set_ or [])
    names = OF_DATASETS if filter_ == ALL else parse_filters(filter_)
    _refuse_others(names, OF_DATASETS, "no teacher has written rows of a dataset")
    rows = DatasetSet(read_dataset(chosen))
    _report({"experiment": chosen.name}, rows, chosen, names, output, as_json)


def _refuse_others(names: Sequence[str], known: Sequence[str], why: str) -> None:
    if others := [name for name in names if name not in known]:
        raise UsageError(f"--filter {others[0]}: {why}; take {', '.join(known)}")


def _report(
    head: dict[str, Any],
    rows: QualityRowSet,
    experiment: Experiment,
    names: Sequence[str],
    output: Path | None,
    as_json: bool,
) -> None:
    settings = experiment.quality
    findings = find_marks(rows, settings, names, experiment.rationale.correctness)
    examples = mark_examples(rows, findings)
    if output:
        _write_marks(output, rows, findings)
    if as_json:
        print_json({**head, **_document(findings, settings, examples)})
    else:
        _print(head, findings, experiment, examples)


def _document(
    findings: QualityFindings, settings: Quality, examples: dict[str, list[MarkedRow]]
) -> dict[str, Any]:
    return {
        "rows": findings.rows,
        "right": findings.right,
        "test_rows": findings.test_rows,
        "test_rows_repeated": findings.test_rows_repeated(),
        "heeded": list(settings.heeded),
        "right_left": findings.left(settings.heeded),
        "filters": {
            name: {
                "marked": findings.marks.count(name),
                "right_marked": findings.of_right(name),
                "kinds": findings.kinds(name),
                "examples": [_example(each) for each in examples.get(name, ())],
            }
            for name in findings.names
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
    head: dict[str, Any],
    findings: QualityFindings,
    experiment: Experiment,
    examples: dict[str, list[MarkedRow]],
) -> None:
    out, settings, steps = console(), experiment.quality, bool(experiment.steps)
    [(what, name)] = head.items()
    of_run = f" with a rationale, {findings.right:,} of them right; "
    kind = of_run if what == "run" else " of the train split; "
    tests = f"{kind}{findings.test_rows:,} rows of the test split"
    rows = f" with a text, {findings.right:,} of them accepted" if steps and what == "run" else tests
    out.print(f"{what} {name}: {findings.rows:,} rows{rows}")
    table = Table("filter", box=None, pad_edge=False)
    for heading in ("marked", "right ones") if what == "run" else ("marked",):
        table.add_column(heading, justify="right")
    table.add_column("heeded")
    table.add_column("a marked row ...")
    for each in findings.names:
        right = [f"{findings.of_right(each):,}"] if what == "run" else []
        heeded = "yes" if each in settings.heeded else "no"
        table.add_row(each, f"{findings.marks.count(each):,}", *right, heeded, FILTERS[each])
    out.print(table)
    for each in findings.names:
        if several := examples.get(each):
            out.print()
            out.print(_heading(each, findings))
            for one in several:
                _print_example(one)
    if what == "run" and not steps:
        heeded = ", ".join(settings.heeded) or "no filter (set `quality` in the experiment)"
        out.print()
        out.print(f"export --only accepted heeds {heeded}: {findings.left(settings.heeded):,} rows are left")


def _heading(name: str, findings: QualityFindings) -> str:
    kinds = ", ".join(f"{kind} {number:,}" for kind, number in findings.kinds(name).items())
    tests = f"; {findings.test_rows_repeated(name):,} test rows are repeated" if name in OF_TEST else ""
    return f"{name}{': ' if kinds else ''}{kinds}{tests}"


def _print_example(each: MarkedRow) -> None:
    out = console()
    candidate = each.row.candidate
    out.print(f"  row {each.row.number} ({each.row.question_id}) {each.mark.why}")
    out.print(f"    {_short(candidate.request, candidate.rationale or candidate.code)}")
    if each.other:
        split = "test row" if each.mark.filter in OF_TEST else "row"
        out.print(f"    {split} {each.other_row}: {_short(*each.other.split(chr(10), 1))}")


def _short(*parts: str) -> str:
    line = " ".join(" => ".join(filter(None, parts)).split())
    return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."


def _write_marks(path: Path, rows: QualityRowSet, findings: QualityFindings) -> None:
    """Write a line for each marked row: its number in the dataset, and why each filter marks it."""
    marks = iter(findings.marks)
    mark = next(marks, None)
    written = 0
    with replacing_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for index, row in enumerate(rows):
            why: dict[str, str] = {}
            while mark and mark.row == index:
                why[mark.filter] = mark.why
                mark = next(marks, None)
            if why:
                line = {"row": row.number, "question_id": row.question_id, "correct": row.right, "marks": why}
                file.write(json.dumps(line) + "\n")
                written += 1
    messages().print(f"wrote the marks of {written:,} rows to {path}")
