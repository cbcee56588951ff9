"""What a change of the cell is worth: differences between two cells over the same test rows and seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.core.experiment.options import Metric
from models.core.metrics.scores import SCORES
from models.core.metrics.significance import Effect, Floats, holm, mcnemar, paired_effects
from models.core.pipeline.grid import Cell
from producer.results.report.ablation_table import CellScores, Stats, mean_of_seeds, paired

LEVEL = 0.05
# Scores of one answer that are all or nothing.
FLAGS = {"exact_match", "accuracy", "normalised_match", "tree_match"}


@dataclass(frozen=True, slots=True)
class Difference:
    """In percent points, with its 95 % interval. `p_holm` is the p-value corrected for all comparisons of
    the metric in the report."""

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
    """What `cell` scores above `against` in the `n` answers to what both were asked, by metric. `baseline`:
    that is the student's baseline; `retrieval`: it is the same cell without documentation."""

    cell: Cell
    against: Cell
    baseline: bool
    retrieval: bool
    n: int
    differences: dict[str, Difference]


def compared(metrics: Sequence[Metric]) -> list[Metric]:
    """Of these metrics, those of which differences are told: all that say whether answers are right."""
    return [name for name in metrics if name != "parse_rate"]


def comparisons(found: Sequence[CellScores], metrics: Sequence[Metric]) -> tuple[CellComparison, ...]:
    """Each cell against its student's baseline, then each against itself without documentation."""
    of_cell = {scores.cell: scores for scores in found}
    grid = list(of_cell)
    pairs = [(cell, other) for cell in grid if (other := _baseline(cell, grid)) != cell]
    pairs += [(cell, other) for cell in grid if (other := _without(cell)) in of_cell and other != cell]
    measured = {}
    for cell, other in dict.fromkeys(pairs):
        if sides := paired(of_cell[other], of_cell[cell]):
            measured[cell, other] = (int(sides[0][..., -1].sum()), _effects(*sides, metrics))
    corrected = {name: holm([effects[name].p_value for _, effects in measured.values()]) for name in metrics}
    return tuple(
        CellComparison(
            cell, other, other == _baseline(cell, grid), other == _without(cell), n,
            {name: _difference(effects[name], corrected[name][place]) for name in metrics},
        )
        for place, ((cell, other), (n, effects)) in enumerate(measured.items())
    )  # fmt: skip


def _baseline(cell: Cell, grid: Sequence[Cell]) -> Cell:
    """Without exemplars, documentation and augmentation where the grid has it, else the student's first."""
    own = [each for each in grid if each.student == cell.student]
    plain = (each for each in own if not (each.shots or each.retrieval or each.augment_test))
    return next(plain, own[0])


def _without(cell: Cell) -> Cell:
    return replace(cell, retrieval="")


def _effects(before: Stats, after: Stats, metrics: Sequence[Metric]) -> dict[str, Effect]:
    """Of stats of shape [rows, seeds, WIDTH]. With one seed FLAGS are one flag a row: exact p-values."""
    rows, seeds, width = before.shape
    scores: dict[str, Callable[[Floats], Floats]] = {
        name: mean_of_seeds(SCORES[name], seeds) for name in metrics
    }
    flat = (rows, seeds * width)
    found = paired_effects(before.reshape(flat), after.reshape(flat), scores)
    for name in FLAGS.intersection(metrics) if seeds == 1 else ():
        was, is_now = (SCORES[name](side[:, 0].astype(np.float64)) > 0 for side in (before, after))
        p_value = mcnemar(int((was & ~is_now).sum()), int((is_now & ~was).sum()))
        exact = found[name]
        found[name] = Effect(exact.difference, exact.low, exact.high, p_value)
    return found


def _difference(effect: Effect, p_holm: float) -> Difference:
    return Difference(effect.difference, effect.low, effect.high, effect.p_value, p_holm)
