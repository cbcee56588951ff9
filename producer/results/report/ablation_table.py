"""What the ledger holds of each cell of the grid: the statistics of its answers, and how they were asked.

The ablation table: what each cell of the grid is worth, with 95 % bootstrap intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from models.core.experiment.options import DEFAULT_METRICS, Metric
from models.core.metrics.scores import SCORES, WIDTH, row_stats
from models.core.metrics.significance import Floats, bootstrap
from models.core.pipeline.grid import Cell, cells
from storage.database import Database
from storage.ledger.queries import ResultRow, rows
from storage.ledger.runs import Run
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

    def add(self, unit: ResultRow) -> None:
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


HEADINGS: Mapping[Metric, str] = {
    "bleu4": "BLEU-4",
    "char_bleu": "charBLEU",
    "exact_match": "Exact match",
    "parse_rate": "Parse rate",
    "accuracy": "Accuracy",
    "token_f1": "Token F1",
    "chrf": "chrF",
    "normalised_match": "Match but for blanks",
    "tree_match": "Match as trees",
}
# Those of `judge.metrics` where nothing is said.
METRICS: Mapping[str, str] = {name: HEADINGS[name] for name in DEFAULT_METRICS}


@dataclass(frozen=True, slots=True)
class Measure:
    """A score in percent, its 95 % confidence interval, and its standard deviation over several seeds."""

    value: float
    low: float
    high: float
    sd: float | None = None


@dataclass(frozen=True, slots=True)
class TableRow:
    """`n` of `planned` answers are scored, over all seeds; `measures` is empty while `n` is 0.

    `best` names the metrics in which no cell of the student is better. Of the `answers` that the student
    gave, `fewer` were shown less exemplars than the cell asks for, as there were no more, `shown` on average
    over all, `truncated` were cut off at the token limit, and `shortened` were asked without passages and
    exemplars, `dropped` in all, for which the model's context had no room. `unparsable` are those of the `n`
    that are no Python.
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
    unparsable: int = 0
    best: tuple[str, ...] = ()


def ablation_rows(
    found: Sequence[CellScores], executed: Mapping[str, Mapping[str, Measure]], metrics: Sequence[str]
) -> tuple[TableRow, ...]:
    """One row per cell. `executed` adds measures by variant and name, such as pass@1."""
    return _with_best([_row(scores, executed.get(scores.cell.variant, {}), metrics) for scores in found])


def _row(found: CellScores, executed: Mapping[str, Measure], metrics: Sequence[str]) -> TableRow:
    planned = [stats for by_id in found.scored.values() for stats in by_id.values()]
    scored = [stats for stats in planned if stats is not None]
    values = found.answered()
    measures = {} if values is None else {name: _measure(values, name) for name in metrics}
    return TableRow(
        found.cell,
        n=len(scored),
        planned=len(planned),
        measures={**measures, **executed} if measures else {},
        answers=found.answers,
        fewer=found.fewer,
        shown=found.shown / found.answers if found.answers else 0.0,
        truncated=found.truncated,
        shortened=found.shortened,
        dropped=(found.passages, found.exemplars),
        unparsable=sum(not SCORES["parse_rate"](stats.astype(np.float64)) for stats in scored),
    )


def _measure(values: Stats, name: str) -> Measure:
    """Mean over the seeds. A row is resampled with its answers of all seeds: they are not independent."""
    rows, seeds, width = values.shape
    mean = mean_of_seeds(SCORES[name], seeds)
    low, high = bootstrap(values.reshape(rows, seeds * width), mean, seed=0)
    of_seeds = SCORES[name](values.sum(axis=0, dtype=np.float64))
    return Measure(float(of_seeds.mean()), low, high, float(of_seeds.std(ddof=1)) if seeds > 1 else None)


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
