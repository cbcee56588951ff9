"""The difference of two runs, row by row: flipped verdicts, scores, configurations and costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UsageError
from producer.results.diff_warnings import comparison_warnings
from producer.results.differences import Comparison, Difference, correct_family
from producer.results.report.effects import compared_metrics
from producer.results.row_verdicts import LAST_PASS, CellVerdicts, RowKey, RowVerdict, Verdicts, read_verdicts
from producer.results.step_diff import StepChange, read_values, step_changes
from producer.results.verdict_pairs import VerdictPairs, mean_share
from storage.database import Database
from storage.ledger import counts
from storage.ledger.counts import Spending
from storage.ledger.queries import ResultRow, iter_rows
from storage.ledger.runs import Run

EXAMPLES = 3
SpendingOfBoth = tuple[Mapping[str, Spending], Mapping[str, Spending]]


def changed_keys(first: Any, second: Any) -> dict[str, tuple[Any, Any]]:
    """Return both values by key, such as `students.0.model`; None stands for a key that one side lacks."""
    before, after = dict(_flat("", first)), dict(_flat("", second))
    pairs = {key: (before.get(key), after.get(key)) for key in before | after}
    return {key: (old, new) for key, (old, new) in pairs.items() if old != new}


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield keys and values. A list of mappings is taken apart by index, another list is one value."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _flat(f"{key}.{name}" if key else name, part)
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        for index, part in enumerate(value):
            yield from _flat(f"{key}.{index}", part)
    else:
        yield key, value


@dataclass(frozen=True, slots=True)
class Flip:
    """A row whose verdict changed, with the answers of both runs."""

    row: int
    question_id: str
    reference: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class CellChange:
    """The verdicts of a cell on the `n` rows that both runs answered, `answers` pairs of one seed each.

    `before` and `after` percent are right, as means over seeds. `lost` rows were right and no longer are,
    `gained` rows the reverse; with several seeds a row is right if most of its answers are. `differences` are
    those of the share that is right, and of the metrics that both runs have.
    """

    cell: CellVerdicts
    n: int
    answers: int
    questions: int
    before: float
    after: float
    lost: int
    gained: int
    differences: dict[str, Difference]
    lost_examples: tuple[Flip, ...]
    gained_examples: tuple[Flip, ...]


@dataclass(frozen=True, slots=True)
class RunDiff:
    """Two runs compared. Only rows that are in both datasets count; `same_data` means that all are.

    `only_first` and `only_second` are cells that the other run lacks. Spending of each run is by stage:
    `bought` by the run itself, and of all `answers` that it rests on, whoever bought them. Runs of steps have
    `steps` in place of cells, and the `units` of both by step and state.
    """

    first: Run
    second: Run
    same_data: bool
    configuration: Mapping[str, tuple[Any, Any]]
    cells: tuple[CellChange, ...]
    only_first: tuple[CellVerdicts, ...]
    only_second: tuple[CellVerdicts, ...]
    bought: SpendingOfBoth
    answers: SpendingOfBoth
    units: tuple[Mapping[str, Mapping[str, int]], ...] = ()
    steps: tuple[StepChange, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on numbers that do not mean the same in both runs."""
        return tuple(comparison_warnings(self.configuration))


def diff_runs(db: Database, first: Run, second: Run) -> RunDiff:
    """Compare rows with the same content, wherever they stand. Raise UsageError if no row is in both runs, or
    if one is of a pipeline of steps and the other is not."""
    if bool(first.experiment.steps) != bool(second.experiment.steps):
        raise UsageError(
            f"runs {first.id} and {second.id} are of different pipelines: only one has steps; compare runs "
            "of one pipeline"
        )
    if first.experiment.steps:
        return _diff_steps(db, first, second)
    before, after = read_verdicts(db, first), read_verdicts(db, second)
    pairs = {cell: both for cell in before if (both := _common(before[cell], after.get(cell, {})))}
    if not pairs:
        _require_common(first, second, _rows(before), _rows(after))
    metrics = _common_metrics(first, second)
    compared_cells = [both.compare(metrics, len(pairs)) for both in pairs.values()]
    changes = (
        _change(db, (first, second), cell, both, compared)
        for (cell, both), compared in zip(pairs.items(), correct_family(compared_cells), strict=True)
    )
    return RunDiff(
        first, second, first.dataset == second.dataset, _changed_configuration(first, second),
        tuple(changes),
        tuple(cell for cell in before if cell not in after),
        tuple(cell for cell in after if cell not in before),
        *_spending(db, first, second),
    )  # fmt: skip


def _diff_steps(db: Database, first: Run, second: Run) -> RunDiff:
    before, after = read_values(db, first), read_values(db, second)
    _require_common(first, second, set(before.places), set(after.places))
    return RunDiff(
        first, second, first.dataset == second.dataset, _changed_configuration(first, second), (), (), (),
        *_spending(db, first, second), (_units(db, first), _units(db, second)), step_changes(before, after),
    )  # fmt: skip


def _require_common(first: Run, second: Run, before: Set[Any], after: Set[Any]) -> None:
    """Raise UsageError if both runs have rows and no row is in both."""
    if before and after and not before & after:
        raise UsageError(
            f"runs {first.id} and {second.id} are over other data: no row is in both; "
            "compare runs of one dataset"
        )


def _changed_configuration(first: Run, second: Run) -> dict[str, tuple[Any, Any]]:
    before, after = (run.experiment.model_dump(mode="json") for run in (first, second))
    return changed_keys(before, after)


def _spending(db: Database, first: Run, second: Run) -> tuple[SpendingOfBoth, SpendingOfBoth]:
    bought = (counts.spending_by_stage(db, first.id), counts.spending_by_stage(db, second.id))
    answers = (counts.answers_by_stage(db, first.id), counts.answers_by_stage(db, second.id))
    return bought, answers


def _units(db: Database, run: Run) -> dict[str, Counter[str]]:
    funnel = counts.funnel(db, run.id, 0.0)
    return {name: funnel.total(stage=name) for name in run.experiment.steps}


def _rows(verdicts: Verdicts) -> set[tuple[str, RowKey]]:
    return {(cell.split, key) for cell, by_key in verdicts.items() for key in by_key}


def _common(before: Mapping[RowKey, RowVerdict], after: Mapping[RowKey, RowVerdict]) -> VerdictPairs | None:
    """Return the rows that both runs answered with one of their seeds, None without any."""
    keys = [key for key in before if key in after and before[key].right.keys() & after[key].right.keys()]
    return VerdictPairs([before[key] for key in keys], [after[key] for key in keys]) if keys else None


def _common_metrics(first: Run, second: Run) -> list[str]:
    of_both = set(second.experiment.judge.metrics).intersection(first.experiment.judge.metrics)
    # Accuracy is the share that is right.
    return [name for name in compared_metrics(first.experiment.judge.metrics)
            if name in of_both and name != "accuracy"]  # fmt: skip


def _change(
    db: Database, runs: tuple[Run, Run], cell: CellVerdicts, both: VerdictPairs, compared: Comparison
) -> CellChange:
    was, is_now = both.right()
    right_before, right_after = _mostly_right(was), _mostly_right(is_now)
    lost, gained = np.flatnonzero(right_before & ~right_after), np.flatnonzero(right_after & ~right_before)
    shown = [*lost[:EXAMPLES], *gained[:EXAMPLES]]
    texts = [
        _texts(db, run, cell, [side[at].example for at in shown])
        for run, side in zip(runs, (both.before, both.after), strict=True)
    ]
    flips = {at: _flip(texts[0][both.before[at].example], texts[1][both.after[at].example]) for at in shown}
    return CellChange(
        cell, compared.rows, compared.n, compared.questions, mean_share(was), mean_share(is_now),
        len(lost), len(gained), compared.differences,
        tuple(flips[at] for at in lost[:EXAMPLES]), tuple(flips[at] for at in gained[:EXAMPLES]),
    )  # fmt: skip


def _mostly_right(counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    right, answers = counts.sum(axis=1).T
    mostly: NDArray[np.bool_] = 2 * right > answers
    return mostly


def _texts(db: Database, run: Run, cell: CellVerdicts, examples: Sequence[int]) -> dict[int, ResultRow]:
    """Return the unit that has the verdict, by example: the first judge, or the first right rationale."""
    if not examples:
        return {}
    stages = ("rationale", "rationalize") if cell.variant == LAST_PASS else ("rationale",)
    if cell.stage == "answer":
        stages = ("judge",)
    units: dict[int, ResultRow] = {}
    for unit in iter_rows(db, run.id, stages=stages, examples=examples):
        if cell.stage == "answer" and (unit.variant != cell.variant or unit.sample):
            continue
        earlier = units.get(unit.example_id)
        if unit.variant == "sample" or (earlier and earlier.result.get("correct")):
            continue
        units[unit.example_id] = unit
    return units


def _flip(first: ResultRow, second: ResultRow) -> Flip:
    return Flip(first.number, first.question_id, first.reference, _answer(first), _answer(second))


def _answer(unit: ResultRow) -> str:
    code = unit.result.get("prediction" if unit.stage == "judge" else "answer")
    return code or str(unit.result.get("text") or "")
