"""What the ledger holds of each cell of the grid: the statistics of its answers, and how they were asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.ablation import Cell, cells
from models.metrics import WIDTH, row_stats
from models.metrics.intervals import Floats
from storage.database import Database
from storage.ledger.planning import Run
from storage.ledger.rows import Row, rows
from storage.schema import DONE, FINAL, OPEN, TEST

Stats = NDArray[np.int64]
NOT_ANSWERED: Stats = np.zeros(WIDTH, dtype=np.int64)


@dataclass(slots=True)
class CellScores:
    """`scored` maps sample and question id to the stats of the answer, or None where it has no score. Of the
    `answers` given, `fewer` were shown less exemplars than the cell asks for, `shown` in all; `shortened`
    ones were asked without so many `passages` and `exemplars`, for which there was no room."""

    cell: Cell
    scored: dict[int, dict[str, Stats | None]] = field(default_factory=dict)
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
            said = unit.result.get("prediction") or ""
            stats = row_stats(said, unit.reference, unit.result.get("correct")) if done else None
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

    def answered(self) -> Stats | None:
        """Of rows with a score in any seed, shape [rows, seeds, WIDTH]; zeros where one seed has none."""
        begun = [
            by_id for _, by_id in sorted(self.scored.items()) if any(s is not None for s in by_id.values())
        ]
        ids = dict.fromkeys(key for by_id in begun for key, stats in by_id.items() if stats is not None)
        return _table([[by_id.get(key) for by_id in begun] for key in ids])


def read_cells(db: Database, run: Run) -> list[CellScores]:
    """In the paper's order. Where a question id repeats, its last row counts."""
    grid = cells(run.experiment)
    found = {cell.variant: CellScores(cell) for cell in grid}
    for unit in rows(db, run.id, stages=("answer", "judge"), states=OPEN + FINAL, split=TEST):
        found[unit.variant].add(unit)
    return [found[cell.variant] for cell in grid]


def paired(first: CellScores, second: CellScores) -> tuple[Stats, Stats] | None:
    """The stats of what both cells answered, each of shape [rows, seeds, WIDTH]; None where that is nothing.

    An answer that the other cell lacks counts on neither side.
    """
    both: dict[int, dict[str, tuple[Stats, Stats]]] = {}
    for sample, by_id in sorted(first.scored.items()):
        others = second.scored.get(sample, {})
        for key, stats in by_id.items():
            other = others.get(key)
            if stats is not None and other is not None:
                both.setdefault(sample, {})[key] = (stats, other)
    if not both:
        return None
    ids = dict.fromkeys(key for by_id in both.values() for key in by_id)
    none = (NOT_ANSWERED, NOT_ANSWERED)
    table = np.array([[by_id.get(key, none) for by_id in both.values()] for key in ids])
    return table[:, :, 0], table[:, :, 1]


def mean_of_seeds(score: Callable[[Floats], Floats], seeds: int) -> Callable[[Floats], Floats]:
    """The score of flattened sums, shape [n, seeds * WIDTH] -> [n], averaged over the seeds."""

    def mean(sums: Floats) -> Floats:
        return np.asarray(score(sums.reshape(-1, seeds, WIDTH)).mean(axis=-1), dtype=np.float64)

    return mean


def _table(found: Sequence[Sequence[Stats | None]]) -> Stats | None:
    if not found:
        return None
    return np.array([[NOT_ANSWERED if stats is None else stats for stats in row] for row in found])
