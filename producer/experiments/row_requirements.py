"""Find out before a run whether the rows have the columns, references, tests and passages that it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, islice

from models.core.errors import ExperimentError, UsageError
from models.core.experiment.experiment import Experiment
from models.core.experiment.passages import BASE, LEARNED
from models.core.near_names import nearest_column
from models.core.pipeline.grid import prompted_cells
from models.core.pipeline.steps import check_columns
from models.core.row_values import look_up
from models.core.types import Example
from storage.schema import TEST, TRAIN

EXECUTED = "rationale.correctness execution compares rows without tests with references"
# Rows of a split that are looked at.
FIRST = 1000
# The key of a step and what is wrong with it where rows lack what its rule needs.
WITHOUT = {
    "reference": ("reference", "no row has a reference; name the column here, or by data.fields.reference"),
    "tests": ("rule", "execution needs tests, and no row has any; name their column by data.fields.tests"),
}


def require_references(experiment: Experiment, splits: Mapping[str, Iterable[Example]]) -> None:
    """Raise ExperimentError if students have no test rows, or a row lacks a reference that is needed."""
    if experiment.examined and next(iter(splits[TEST]), None) is None:
        remedy = "add `split: {test: 0.1}`, or leave students out"
        raise ExperimentError(experiment.name, "students", f"answer test rows, and there are none; {remedy}")
    if experiment.dataset:  # whose rows all have one
        return
    for split, (use, remedy) in _uses(experiment).items():
        for example in splits[split]:
            if not example.reference.strip() and not (example.tests and use == EXECUTED):
                problem = f"{use}, and {split} row {example.row + 1} has none"
                remedies = f"name their column by data.fields.reference{remedy}"
                raise ExperimentError(experiment.name, "data", f"{problem}; {remedies}")


def require_step_references(experiment: Experiment, splits: Mapping[str, Iterable[Example]]) -> None:
    """Raise ExperimentError if the rule of a step needs references or tests, and none of the first rows has
    any."""
    needed = {step.compares_with for step in experiment.steps.values()} - {""}
    rows = list(chain.from_iterable(islice(each, FIRST) for each in splits.values())) if needed else []
    has = {
        "reference": any(row.reference.strip() for row in rows),
        "tests": any(row.tests for row in rows),
    }
    for name, step in experiment.steps.items():
        if step.compares_with and not has[step.compares_with]:
            key, problem = WITHOUT[step.compares_with]
            raise ExperimentError(experiment.name, f"steps.{name}.{key}", problem)


def require_tests(experiment: Experiment, splits: Mapping[str, Iterable[Example]]) -> None:
    """Raise ExperimentError if answers are to be executed and no row of the split has tests."""
    needs = {
        TRAIN: "rationale.correctness execution" if experiment.rationale.correctness == "execution" else "",
        TEST: "judge.execution" if experiment.judge.execution else "",
    }
    for split, setting in needs.items():
        if setting and not any(example.tests for example in splits[split]):
            problem = f"no {split} row has tests, and {setting} needs them"
            if experiment.data:
                raise ExperimentError(
                    experiment.name, "data.fields.tests", f"{problem}; name their column here"
                )
            problem = f"{problem}; name ODEX files here, or map dataset.fields.tests"
            raise ExperimentError(experiment.name, "dataset.tests", problem)


def require_right_passages(experiment: Experiment, splits: Mapping[str, Iterable[Example]]) -> None:
    """Raise UsageError if right passages are to be shown and no row names any."""
    passages = experiment.passages
    if passages is None:
        return
    names = [BASE, *(name for name in experiment.grid.retrieval if isinstance(name, str))]
    shown = [name for name in names if passages.named(name).control == "oracle"]
    if shown and not any(example.oracle for rows in splits.values() for example in rows):
        key = "passages" if shown[0] == BASE else f"passages.alternatives.{shown[0]}"
        raise UsageError(
            f"{key}.control: oracle shows the right passages of a row, and no row names any; name the key "
            f"that holds their ids in {experiment.rows_key}.fields.oracle, or take another control"
        )


def require_train_rows(experiment: Experiment, splits: Mapping[str, Iterable[Example]]) -> None:
    """Raise UsageError if a size of the learning curve is above the number of train rows."""
    largest = max(experiment.grid.train_rows or [0])
    rows = sum(1 for _ in islice(splits[TRAIN], largest))
    if rows < largest and experiment.examined:
        raise UsageError(
            f"grid.train_rows: {largest} rows are to be drawn from, and the train split has {rows}; take "
            f"{rows} or less"
        )


def require_search_of_any_rows(experiment: Experiment) -> None:
    """Raise ExperimentError if a cell of the learning curve shows what a search finds that has learned from
    all train rows."""
    for cell in prompted_cells(experiment):
        search = experiment.passages.named(cell.retrieval) if experiment.passages and cell.retrieval else None
        if cell.train_rows and search and search.method in LEARNED:
            key = "passages" if cell.retrieval == BASE else f"passages.alternatives.{cell.retrieval}"
            problem = f"counts train rows, and {key}.method {search.method} learns from all of them"
            remedy = "take method dense, bm25 or fusion, or leave train_rows out"
            raise ExperimentError(experiment.name, "grid.train_rows", f"{problem}; {remedy}")


def require_cluster_column(experiment: Experiment, splits: Mapping[str, Iterable[Example]]) -> None:
    """Raise ExperimentError if no row that has a score has the column that names its question."""
    name = experiment.report.cluster
    scored = {TEST: splits[TEST]} if experiment.examined else splits
    if name and not any(_has(row, name) for rows in scored.values() for row in rows):
        rows = f"{TEST} row" if experiment.examined else "row"
        problem = f"no {rows} has the column {name}; {nearest_column(name, _columns(scored))}"
        raise ExperimentError(experiment.name, "report.cluster", problem)


def _has(row: Example, name: str) -> bool:
    try:
        return look_up(row.columns, name) not in (None, "")
    except KeyError:
        return False


def _columns(splits: Mapping[str, Iterable[Example]]) -> list[str]:
    """Return the columns of the first rows, which need not have the same."""
    rows = chain.from_iterable(islice(each, FIRST) for each in splits.values())
    return list(dict.fromkeys(name for row in rows for name in row.columns))


def _uses(experiment: Experiment) -> dict[str, tuple[str, str]]:
    """Return by split what needs references, and what to do without them."""
    rationale, judge = experiment.rationale, experiment.judge
    uses: dict[str, tuple[str, str]] = {}
    if experiment.makes_rationales and rationale.correctness == "execution":
        uses[TRAIN] = (EXECUTED, "")
    elif experiment.makes_rationales and rationale.correctness != "model":
        rule = f"rationale.correctness {rationale.correctness} compares with references"
        uses[TRAIN] = (rule, ", or take the rule model, which asks a judge")
    elif experiment.makes_rationales and rationale.passes:
        uses[TRAIN] = ("rationale.passes gives references as hints", ", or set rationale.passes: 0")
    elif any(cell.shots and cell.rationale == "none" for cell in prompted_cells(experiment)):
        uses[TRAIN] = ("exemplars show references", ", or take grid.shots [0], or rationales")
    if experiment.examined and not (judge.correctness == "model" and judge.metrics == ["accuracy"]):
        uses[TEST] = ("judge.metrics compare with references", ", or take the rule model and metric accuracy")
    return uses


def check_step_columns(experiment: Experiment, splits: Mapping[str, Iterable[Example]]) -> None:
    """Raise ExperimentError if a step reads a column that no row of the data has, or would overwrite one."""
    check_columns(experiment, _columns(splits))
