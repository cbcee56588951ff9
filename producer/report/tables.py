"""The ablation table: what each cell of the grid is worth, with 95 % bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.ablation import Cell
from models.metric_names import DEFAULT_METRICS, Metric
from models.metrics import SCORES, bootstrap
from producer.report.cells import CellScores, Stats, mean_of_seeds

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
