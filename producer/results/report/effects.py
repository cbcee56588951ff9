"""Paired differences between two cells over the same test rows and seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.core.experiment.options import Metric
from models.core.metrics.scores import SCORES
from models.core.metrics.significance import Effect, Floats, holm, mcnemar, paired_effects
from models.core.pipeline.grid import Cell
from producer.results.report.ablation_table import CellScores, Stats, mean_of_seeds, paired_stats

LEVEL = 0.05
# Scores of one answer that are all or nothing.
FLAGS = {"exact_match", "accuracy", "normalised_match", "tree_match"}


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference in percent points with its 95 % interval. `p_holm` is the p-value, corrected for all
    comparisons of the metric in the report."""

    value: float
    low: float
    high: float
    p_value: float
    p_holm: float

    @property
    def significant(self) -> bool:
        return self.p_holm < LEVEL


@dataclass(frozen=True, slots=True)
class CellComparison:
    """The scores of `cell` above those of `against` in the `n` answers that both gave, by metric. `against`
    is the student's `baseline`, or for `retrieval` the same cell without documentation, or both."""

    cell: Cell
    against: Cell
    baseline: bool
    retrieval: bool
    n: int
    differences: dict[str, Difference]


def compared_metrics(metrics: Sequence[Metric]) -> list[Metric]:
    """Return the metrics that have differences: those that measure right answers."""
    return [name for name in metrics if name != "parse_rate"]


def compare_cells(cell_scores: Sequence[CellScores], metrics: Sequence[Metric]) -> tuple[CellComparison, ...]:
    """Compare each cell with its student's baseline, then with itself without documentation."""
    of_cell = {scores.cell: scores for scores in cell_scores}
    grid = list(of_cell)
    pairs = [(cell, other) for cell in grid if (other := _baseline(cell, grid)) != cell]
    pairs += [(cell, other) for cell in grid if (other := _without(cell)) in of_cell and other != cell]
    measured = {}
    for cell, other in dict.fromkeys(pairs):
        if sides := paired_stats(of_cell[other], of_cell[cell]):
            measured[cell, other] = (int(sides[0][..., -1].sum()), _effects(*sides, metrics))
    corrected = {name: holm([effects[name].p_value for _, effects in measured.values()]) for name in metrics}
    return tuple(
        CellComparison(
            cell, other, other == _baseline(cell, grid), other == _without(cell), n,
            {name: _difference(effects[name], corrected[name][index]) for name in metrics},
        )
        for index, ((cell, other), (n, effects)) in enumerate(measured.items())
    )  # fmt: skip


def _baseline(cell: Cell, grid: Sequence[Cell]) -> Cell:
    """Return the student's cell without exemplars, documentation and augmentation, or else its first."""
    own = [each for each in grid if each.student == cell.student]
    plain = (each for each in own if not (each.shots or each.retrieval or each.augment_test))
    return next(plain, own[0])


def _without(cell: Cell) -> Cell:
    return replace(cell, retrieval="")


def _effects(before: Stats, after: Stats, metrics: Sequence[Metric]) -> dict[str, Effect]:
    """Return effects by metric from stats [rows, seeds, WIDTH]. FLAGS of one seed have exact p-values."""
    rows, seeds, width = before.shape
    scores: dict[str, Callable[[Floats], Floats]] = {
        name: mean_of_seeds(SCORES[name], seeds) for name in metrics
    }
    flat = (rows, seeds * width)
    effects = paired_effects(before.reshape(flat), after.reshape(flat), scores)
    for name in FLAGS.intersection(metrics) if seeds == 1 else ():
        was, is_now = (SCORES[name](side[:, 0].astype(np.float64)) > 0 for side in (before, after))
        p_value = mcnemar(int((was & ~is_now).sum()), int((is_now & ~was).sum()))
        effects[name] = replace(effects[name], p_value=p_value)
    return effects


def _difference(effect: Effect, p_holm: float) -> Difference:
    return Difference(effect.difference, effect.low, effect.high, effect.p_value, p_holm)
