"""The difference of two runs, row by row: flipped verdicts, their p-values, configurations and costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.core.errors import UsageError
from models.core.metrics.scores import SCORES
from models.core.metrics.significance import Effect, Floats, mcnemar, paired_effects
from producer.results.row_verdicts import LAST_PASS, CellVerdicts, RowKey, RowVerdict, Verdicts, read_verdicts
from storage.database import Database
from storage.ledger import counts
from storage.ledger.counts import Spending
from storage.ledger.queries import ResultRow, iter_rows
from storage.ledger.runs import Run

EXAMPLES = 3
# The verdicts of a cell in the first run and in the second.
Sides = tuple[Mapping[RowKey, RowVerdict], Mapping[RowKey, RowVerdict]]


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
    """The verdicts of a cell on the `n` rows that both runs answered.

    `before` and `after` percent are right. `lost` rows were right and no longer are, `gained` rows the
    reverse. With several seeds a row is right if most of its answers are. `bleu4` is the difference in
    points, None for a cell without scores.
    """

    cell: CellVerdicts
    n: int
    before: float
    after: float
    lost: int
    gained: int
    p_value: float
    bleu4: Effect | None
    lost_examples: tuple[Flip, ...]
    gained_examples: tuple[Flip, ...]


@dataclass(frozen=True, slots=True)
class RunDiff:
    """Two runs compared. Only rows that are in both datasets count; `same_data` means that all are.

    `only_first` and `only_second` are cells that the other run lacks. Spending of each run is by stage:
    `bought` by the run itself, and of all `answers` that it rests on, whoever bought them.
    """

    first: Run
    second: Run
    same_data: bool
    configuration: Mapping[str, tuple[Any, Any]]
    cells: tuple[CellChange, ...]
    only_first: tuple[CellVerdicts, ...]
    only_second: tuple[CellVerdicts, ...]
    bought: tuple[Mapping[str, Spending], Mapping[str, Spending]]
    answers: tuple[Mapping[str, Spending], Mapping[str, Spending]]


def diff_runs(db: Database, first: Run, second: Run, seed: int = 0) -> RunDiff:
    """Compare rows with the same content, wherever they stand. Raise UsageError if no row is in both runs."""
    before, after = read_verdicts(db, first), read_verdicts(db, second)
    changes = []
    for cell in (cell for cell in before if cell in after):
        if keys := [key for key in before[cell] if key in after[cell]]:
            changes.append(_change(db, (first, second), cell, keys, (before[cell], after[cell]), seed))
    if not changes and _rows(before) and _rows(after) and not _rows(before) & _rows(after):
        raise UsageError(
            f"runs {first.id} and {second.id} are over other data: no row is in both; "
            "compare runs of one dataset"
        )
    return RunDiff(
        first, second, first.dataset == second.dataset,
        changed_keys(first.experiment.model_dump(mode="json"), second.experiment.model_dump(mode="json")),
        tuple(changes),
        tuple(cell for cell in before if cell not in after),
        tuple(cell for cell in after if cell not in before),
        (counts.spending_by_stage(db, first.id), counts.spending_by_stage(db, second.id)),
        (counts.answers_by_stage(db, first.id), counts.answers_by_stage(db, second.id)),
    )  # fmt: skip


def _rows(verdicts: Verdicts) -> set[tuple[str, RowKey]]:
    return {(cell.split, key) for cell, by_key in verdicts.items() for key in by_key}


def _change(
    db: Database,
    runs: tuple[Run, Run],
    cell: CellVerdicts,
    keys: Sequence[RowKey],
    sides: Sides,
    seed: int,
) -> CellChange:
    was, now = (np.array([[side[key].right, side[key].answers] for key in keys]) for side in sides)
    right_before, right_after = 2 * was[:, 0] > was[:, 1], 2 * now[:, 0] > now[:, 1]
    lost = [key for key, flipped in zip(keys, right_before & ~right_after, strict=True) if flipped]
    gained = [key for key, flipped in zip(keys, right_after & ~right_before, strict=True) if flipped]
    shown = [*lost[:EXAMPLES], *gained[:EXAMPLES]]
    texts = [
        _texts(db, run, cell, [side[key].example for key in shown])
        for run, side in zip(runs, sides, strict=True)
    ]
    flips = {
        key: _flip(*(units[side[key].example] for units, side in zip(texts, sides, strict=True)))
        for key in shown
    }
    return CellChange(
        cell, len(keys), _share(was.sum(axis=0)), _share(now.sum(axis=0)), len(lost), len(gained),
        _p_value(was, now, len(lost), len(gained), seed), _bleu4(keys, sides, seed),
        tuple(flips[key] for key in lost[:EXAMPLES]), tuple(flips[key] for key in gained[:EXAMPLES]),
    )  # fmt: skip


def _share(sums: Any) -> float:
    return 100.0 * float(sums[0]) / float(sums[1])


def _shares(sums: Floats) -> Floats:
    return np.asarray(100.0 * sums[..., 0] / sums[..., 1], dtype=np.float64)


def _p_value(was: Any, now: Any, lost: int, gained: int, seed: int) -> float:
    """Use McNemar's exact test if each row has one answer, else approximate randomization by row."""
    if was[:, 1].max() == now[:, 1].max() == 1:
        return mcnemar(lost, gained)
    return paired_effects(was, now, {"right": _shares}, seed)["right"].p_value


def _bleu4(keys: Sequence[RowKey], sides: Sides, seed: int) -> Effect | None:
    first, second = ([side[key].stats for key in keys] for side in sides)
    if any(stats is None for stats in (*first, *second)):
        return None
    return paired_effects(np.array(first), np.array(second), {"bleu4": SCORES["bleu4"]}, seed)["bleu4"]


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
