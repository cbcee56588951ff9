"""Differences between two sets of answers to the same rows, their tests in families, and both in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from models.core.metrics.paired_effects import (
    VISIBLE_ERRORS,
    Effect,
    PairedSums,
    effects_of_pairs,
    shuffles_for,
)
from models.core.metrics.proportions import wilson
from models.core.metrics.scores import COUNT, SCORES, SHARES
from models.core.metrics.seed_scores import Stats
from models.core.metrics.significance import cluster_sums, clustered_mcnemar, holm

LEVEL = 0.05
# Fewer rows say too little for a test, and of five questions the smallest p that there is, 2 / 2^5, is above
# LEVEL.
MIN_ROWS = 50
MIN_QUESTIONS = 6
TOO_FEW = "too few to compare"
LOWEST_P = 0.0001


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference in percent points with its 95 % interval.

    `p_holm` is the p-value, `corrected` for all tests of its family, or as it is. If `p_is_bound` both are at
    most so large. `least_visible` is the difference that the test sees with 80 % power, and `d_z` the
    standardized effect; None where rows cannot tell.
    """

    value: float
    low: float
    high: float
    p_value: float
    p_holm: float
    p_is_bound: bool = False
    least_visible: float | None = None
    d_z: float | None = None
    enough_rows: bool = True
    corrected: bool = True

    @property
    def significant(self) -> bool:
        return self.enough_rows and self.corrected and self.p_holm < LEVEL


@dataclass(frozen=True, slots=True)
class PairedRows:
    """The stats of rows with answers on both sides, both [rows, slots, WIDTH]; `clusters` [rows] names their
    questions. A slot is a seed of a pair of cells; a row that it lacks has zeros on both sides. Differences
    are `scale` times those of the means over slots."""

    before: Stats
    after: Stats
    clusters: NDArray[np.int64]
    scale: int = 1

    @property
    def sides(self) -> tuple[Stats, Stats]:
        return self.before, self.after

    @property
    def n(self) -> int:
        """The number of pairs of answers, or of squares of an interaction."""
        return int(self.before[..., COUNT].sum()) // self.scale

    def exact_p_values(self, metrics: Iterable[str]) -> dict[str, float]:
        """Return those of shares, if all slots have all rows."""
        p_values = {}
        for name in metrics if self.before[..., COUNT].all() else ():
            if name in SHARES:
                before, after = (side[..., SHARES[name]].sum(axis=1) for side in self.sides)
                p_values[name] = clustered_mcnemar(before, after, self.clusters)
        return p_values

    def sums(self, tested: Sequence[str], shuffles: int) -> PairedSums:
        """Return the sums of each question in each slot, and which scores are tested by swaps."""
        before, after = (cluster_sums(side, self.clusters) for side in self.sides)
        slots = range(before.shape[1])
        return PairedSums(
            [before[:, slot] for slot in slots], [after[:, slot] for slot in slots], tested, shuffles
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Differences by metric, from `n` pairs of answers to `rows` rows on so many `questions`."""

    n: int
    rows: int
    questions: int
    differences: dict[str, Difference]

    @classmethod
    def of_effects(cls, n: int, rows: int, questions: int, effects: Mapping[str, Effect]) -> Comparison:
        """Return differences that are not corrected."""
        enough = rows >= MIN_ROWS and questions >= MIN_QUESTIONS
        differences = {name: _difference(effect, questions, enough) for name, effect in effects.items()}
        return cls(n, rows, questions, differences)


def compare_family(
    family: Iterable[PairedRows], tests: int, metrics: Sequence[str], *, corrected: bool = True
) -> list[Comparison]:
    """Compare all pairs of a family; the `tests` of a metric are corrected together."""
    compared = compare_pairs(((pair, tests) for pair in family), metrics)
    return correct_family(compared) if corrected else compared


def correct_family(family: Sequence[Comparison]) -> list[Comparison]:
    """Correct the p-values of each metric for all that are compared in it."""
    differences: list[dict[str, Difference]] = [dict(each.differences) for each in family]
    for name in dict.fromkeys(name for each in differences for name in each):
        members = [of_pair for of_pair in differences if name in of_pair]
        p_values = holm([of_pair[name].p_value for of_pair in members])
        for of_pair, p_holm in zip(members, p_values, strict=True):
            of_pair[name] = replace(of_pair[name], p_holm=p_holm, corrected=True)
    return [replace(each, differences=own) for each, own in zip(family, differences, strict=True)]


def compare_pairs(pairs: Iterable[tuple[PairedRows, int]], metrics: Sequence[str]) -> list[Comparison]:
    """Compare pairs, each one of so many tests, before they are corrected. Shares have exact p-values where
    all slots have all rows."""
    sizes: list[tuple[int, int, int]] = []
    scales: list[int] = []
    exact: list[dict[str, float]] = []

    def sums() -> Iterator[PairedSums]:
        for pair, tests in pairs:
            sizes.append((pair.n, len(pair.clusters), len(np.unique(pair.clusters))))
            scales.append(pair.scale)
            exact.append(pair.exact_p_values(metrics))
            yield pair.sums([name for name in metrics if name not in exact[-1]], shuffles_for(tests))

    compared = []
    measured = effects_of_pairs(sums(), {name: SCORES[name] for name in metrics})
    for effects, size, scale, p_values in zip(measured, sizes, scales, exact, strict=True):
        tested = {name: _with_exact(effect, p_values.get(name)) for name, effect in effects.items()}
        scaled = {name: _scaled(_bounded(effect, size[-1]), scale) for name, effect in tested.items()}
        compared.append(Comparison.of_effects(*size, scaled))
    return compared


def exact_effect(
    effect: Effect, before: NDArray[np.int64], after: NDArray[np.int64], clusters: NDArray[np.int64]
) -> Effect:
    """Return the effect in a share with its exact p-value, from right answers by row, and its interval."""
    exact = _with_exact(effect, clustered_mcnemar(before, after, clusters))
    return _bounded(exact, len(np.unique(clusters)))


def _with_exact(effect: Effect, p_value: float | None) -> Effect:
    return effect if p_value is None else replace(effect, p_value=p_value, p_is_bound=False)


def _bounded(effect: Effect, questions: int) -> Effect:
    """Return an effect whose interval is among differences that there can be: the tails of two questions
    reach far beyond. Where all rows change alike the bootstrap has no width: then the interval is wide by the
    bound of Wilson (1927) on the share of questions that do otherwise, none having been seen."""
    width = wilson(0, questions)[1] if effect.low >= effect.high else 0.0
    return replace(effect, low=max(-100.0, effect.low - width), high=min(100.0, effect.high + width))


def _scaled(effect: Effect, scale: int) -> Effect:
    visible = effect.least_visible
    return replace(
        effect, difference=scale * effect.difference, low=scale * effect.low, high=scale * effect.high,
        least_visible=None if visible is None else scale * visible,
    )  # fmt: skip


def _difference(effect: Effect, questions: int, enough_rows: bool) -> Difference:
    # One question tells nothing of the others.
    low, high = (effect.low, effect.high) if questions > 1 else (-100.0, 100.0)
    return Difference(
        effect.difference, low, high, effect.p_value, effect.p_value, effect.p_is_bound, effect.least_visible,
        _standardized(effect, questions), enough_rows, corrected=False,
    )  # fmt: skip


def _standardized(effect: Effect, questions: int) -> float | None:
    """Return d_z (Cohen 1988; Lakens 2013, formula 7): the difference over the standard deviation of the
    paired differences, which is the standard error times the root of the number of questions."""
    if effect.least_visible is None:
        return None
    return effect.difference * VISIBLE_ERRORS / (effect.least_visible * sqrt(questions))


def p_text(p_value: float, is_bound: bool = False) -> str:
    """Return a p-value in words: that at the floor of its shuffles is at most what is shown."""
    if is_bound:
        return f"<= {ceil(round(p_value / LOWEST_P, 6)) * LOWEST_P:.4f}"
    if p_value < LOWEST_P:
        return f"< {LOWEST_P}"
    return f"{p_value:.4f}" if p_value < 0.01 else f"{p_value:.3f}"


def test_words(difference: Difference) -> str:
    """Return p, or why there is none."""
    return p_text(difference.p_holm, difference.p_is_bound) if difference.enough_rows else TOO_FEW


def points(difference: Difference) -> str:
    # Less than nothing is nothing: no "-0.00".
    value = round(difference.value, 2) + 0.0
    return f"{value:+.2f}{'*' if difference.significant else ''}"


def visible_words(difference: Difference) -> str:
    """Return the least visible difference, or nothing if a test says too little."""
    visible = difference.least_visible
    return f"{visible:.1f}" if visible is not None and difference.enough_rows else ""
