"""The ablation table: the scores of each cell of the grid, with 95 % bootstrap intervals."""

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
from storage.ledger.queries import ResultRow, iter_rows
from storage.ledger.runs import Run
from storage.schema import DONE, FINAL, OPEN, TEST

Stats = NDArray[np.int64]
NOT_ANSWERED: Stats = np.zeros(WIDTH, dtype=np.int64)


@dataclass(slots=True)
class CellScores:
    """The answers of a cell in the ledger.

    `scored` maps sample and row (with `by_id` its question id) to the stats of an answer, None if it has no
    score. `fewer` of the `answers` were shown fewer exemplars than the cell asks for; all were shown `shown`
    together. The context had no room for some `passages` and `exemplars` of the `shortened` answers.
    """

    cell: Cell
    by_id: bool = False
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
            prediction = unit.result.get("prediction") or ""
            stats = row_stats(prediction, unit.reference, unit.result.get("correct")) if done else None
            key = unit.question_id if self.by_id else str(unit.number)
            self.scored.setdefault(unit.sample, {})[key] = stats
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

    def stats(self) -> Stats | None:
        """Return the stats of rows with a score in any seed, shape [rows, seeds, WIDTH], None if there are
        none. A row that one seed lacks has zeros there."""
        seeds = [
            scored
            for _, by_id in sorted(self.scored.items())
            if (scored := {key: stats for key, stats in by_id.items() if stats is not None})
        ]
        ids = dict.fromkeys(key for by_id in seeds for key in by_id)
        table = [[by_id.get(key, NOT_ANSWERED) for by_id in seeds] for key in ids]
        return np.array(table) if table else None


def read_scores(db: Database, run: Run) -> list[CellScores]:
    """Read the cells in the paper's order. Each row counts, but by the paper's extraction only the last of
    those with one question id, as in the paper."""
    by_id = run.experiment.judge.extraction == "paper"
    scores = {cell.name: CellScores(cell, by_id) for cell in cells(run.experiment)}
    for unit in iter_rows(db, run.id, stages=("answer", "judge"), states=OPEN + FINAL, split=TEST):
        scores[unit.variant].add(unit)
    return list(scores.values())


def paired_stats(first: CellScores, second: CellScores) -> tuple[Stats, Stats] | None:
    """Return the stats of the rows that both cells answered, each of shape [rows, seeds, WIDTH], or None.

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
    """Return a function from flattened sums, shape [n, seeds * WIDTH], to the mean over seeds, shape [n]."""

    def mean(sums: Floats) -> Floats:
        return np.asarray(score(sums.reshape(-1, seeds, WIDTH)).mean(axis=-1), dtype=np.float64)

    return mean


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
# The default of `judge.metrics`.
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

    `best` names the metrics in which no cell of the student is better. `fewer` of the `answers` were shown
    fewer exemplars than the cell asks for, as there were no more; the average is `shown`. `truncated` answers
    were cut off at the token limit. The context had no room for all passages and exemplars of `shortened`
    answers, which lost `dropped` in all. `unparsable` of the `n` answers are no Python.
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
    cell_scores: Sequence[CellScores], executed: Mapping[str, Mapping[str, Measure]], metrics: Sequence[str]
) -> tuple[TableRow, ...]:
    """Return one row per cell. `executed` adds measures by variant and name, such as pass@1."""
    return _with_best([_row(scores, executed.get(scores.cell.name, {}), metrics) for scores in cell_scores])


def _row(scores: CellScores, executed: Mapping[str, Measure], metrics: Sequence[str]) -> TableRow:
    planned = [stats for by_id in scores.scored.values() for stats in by_id.values()]
    scored = [stats for stats in planned if stats is not None]
    values = scores.stats()
    measures = {} if values is None else {name: _measure(values, name) for name in metrics}
    return TableRow(
        scores.cell,
        n=len(scored),
        planned=len(planned),
        measures={**measures, **executed} if measures else {},
        answers=scores.answers,
        fewer=scores.fewer,
        shown=scores.shown / scores.answers if scores.answers else 0.0,
        truncated=scores.truncated,
        shortened=scores.shortened,
        dropped=(scores.passages, scores.exemplars),
        unparsable=sum(not SCORES["parse_rate"](stats.astype(np.float64)) for stats in scored),
    )


def _measure(values: Stats, name: str) -> Measure:
    """Return the mean over the seeds. Resampling keeps a row's answers of all seeds together: they are not
    independent."""
    rows, seeds, width = values.shape
    mean = mean_of_seeds(SCORES[name], seeds)
    low, high = bootstrap(values.reshape(rows, seeds * width), mean, seed=0)
    by_seed = SCORES[name](values.sum(axis=0, dtype=np.float64))
    return Measure(float(by_seed.mean()), low, high, float(by_seed.std(ddof=1)) if seeds > 1 else None)


def _with_best(table: list[TableRow]) -> tuple[TableRow, ...]:
    """Fill in `best`. Scores are equal if they are so at two decimals, and 0 is never best."""
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
