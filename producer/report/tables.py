"""The ablation table: what each cell of the grid is worth, with 95 % bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from models.ablation import Cell, cells
from models.metrics import SCORES, WIDTH, bootstrap, row_stats
from storage.database import Database
from storage.ledger.planning import Run
from storage.ledger.rows import Row, rows
from storage.schema import DONE, FINAL, OPEN, TEST

METRICS: Mapping[str, str] = {
    "bleu4": "BLEU-4",
    "char_bleu": "charBLEU",
    "exact_match": "Exact match",
    "parse_rate": "Parse rate",
}
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measure:
    """A score in percent and its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class TableRow:
    """`n` of `planned` answers are scored, over all seeds; `measures` is empty while `n` is 0.

    `best` names the metrics in which no cell of the student is better. Of the `answers` that the student
    gave, `fewer` were shown less exemplars than the cell asks for, as there were no more, `shown` on average
    over all, `truncated` were cut off at the token limit, and `shortened` were asked without passages and
    exemplars, `dropped` in all, for which the model's context had no room.
    """

    cell: Cell
    n: int
    planned: int
    measures: dict[str, Measure]
    answers: int = 0
    fewer: int = 0
    shown: float = 0.0
    truncated: int = 0
    shortened: int = 0
    dropped: tuple[int, int] = (0, 0)
    best: tuple[str, ...] = ()


def ablation_rows(db: Database, run: Run) -> tuple[TableRow, ...]:
    """One row per cell, in the paper's order. Where a question id repeats, its last row counts."""
    grid = cells(run.experiment)
    tallies = {cell.variant: _Tally(cell) for cell in grid}
    units = rows(db, run.id, stages=("answer", "judge"), states=OPEN + FINAL, split=TEST)
    for unit in units:
        tallies[unit.variant].add(unit)
    return _with_best([tallies[cell.variant].row() for cell in grid])


@dataclass(slots=True)
class _Tally:
    """What is known of a cell. `scored` maps sample and question id to the stats of the answer, or None."""

    cell: Cell
    scored: dict[int, dict[str, NDArray[np.int64] | None]] = field(default_factory=dict)
    answers: int = 0
    fewer: int = 0
    shown: int = 0
    truncated: int = 0
    shortened: int = 0
    passages: int = 0
    exemplars: int = 0

    def add(self, unit: Row) -> None:
        done = unit.state == DONE
        if unit.stage == "judge":
            stats = row_stats(unit.result.get("prediction") or "", unit.reference) if done else None
            self.scored.setdefault(unit.sample, {})[unit.question_id] = stats
        elif done:
            shown = len(unit.result.get("exemplars", ()))
            dropped = unit.result.get("dropped") or {"passages": 0, "exemplars": 0}
            self.answers += 1
            self.shown += shown
            self.fewer += shown + dropped["exemplars"] < self.cell.shots
            self.shortened += any(dropped.values())
            self.passages += dropped["passages"]
            self.exemplars += dropped["exemplars"]
            self.truncated += bool(unit.result.get("truncated"))

    def row(self) -> TableRow:
        found = [stats for by_id in self.scored.values() for stats in by_id.values()]
        return TableRow(
            self.cell,
            n=sum(stats is not None for stats in found),
            planned=len(found),
            measures=_measures([by_id for _, by_id in sorted(self.scored.items())]),
            answers=self.answers,
            fewer=self.fewer,
            shown=self.shown / self.answers if self.answers else 0.0,
            truncated=self.truncated,
            shortened=self.shortened,
            dropped=(self.passages, self.exemplars),
        )


def _measures(samples: list[dict[str, NDArray[np.int64] | None]]) -> dict[str, Measure]:
    """Means over the seeds. A row is resampled with its answers of all seeds: they are not independent."""
    begun = [by_id for by_id in samples if any(stats is not None for stats in by_id.values())]
    if not begun:
        return {}
    ids = dict.fromkeys(key for by_id in begun for key, stats in by_id.items() if stats is not None)
    missing = np.zeros(WIDTH, dtype=np.int64)
    found = [[by_id.get(key) for by_id in begun] for key in ids]
    values = np.array([[missing if stats is None else stats for stats in row] for row in found])
    return {name: _measure(values, SCORES[name]) for name in METRICS}


def _measure(values: NDArray[np.int64], scores: Callable[[Floats], Floats]) -> Measure:
    """`values` has shape [rows, seeds, WIDTH]."""
    rows_, seeds, width = values.shape

    def mean(sums: Floats) -> Floats:
        return np.asarray(scores(sums.reshape(-1, seeds, width)).mean(axis=-1), dtype=np.float64)

    flat = values.reshape(rows_, seeds * width)
    low, high = bootstrap(flat, mean, seed=0)
    return Measure(float(mean(flat.sum(axis=0, dtype=np.float64))[0]), low, high)


def _with_best(table: list[TableRow]) -> tuple[TableRow, ...]:
    """Equal means equal as shown, at two decimals; nothing is best at 0."""
    top: dict[tuple[str, str], float] = {}
    for row in table:
        for name, measure in row.measures.items():
            key = (row.cell.student, name)
            top[key] = max(top.get(key, 0.0), round(measure.value, 2))
    return tuple(
        replace(row, best=tuple(
            name for name, measure in row.measures.items()
            if 0 < round(measure.value, 2) == top[row.cell.student, name]
        ))
        for row in table
    )  # fmt: skip
