"""Differences between two sets of answers to the same rows, their tests in families, and both in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from models.core.metrics.proportions import wilson
from models.core.metrics.scores import COUNT, SHARES
from models.core.metrics.seed_scores import Stats, flat_scores, flatten
from models.core.metrics.significance import (
    VISIBLE_ERRORS,
    Effect,
    clustered_mcnemar,
    holm,
    paired_effects,
    shuffles_for,
)

LEVEL = 0.05
# Fewer rows say too little for a test.
MIN_ROWS = 50
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
    def n(self) -> int:
        """The number of pairs of answers, or of squares of an interaction."""
        return int(self.before[..., COUNT].sum()) // self.scale

    @property
    def is_complete(self) -> bool:
        return bool(self.before[..., COUNT].all())


@dataclass(frozen=True, slots=True)
class Comparison:
    """Differences by metric, from `n` pairs of answers to `rows` rows on so many `questions`."""

    n: int
    rows: int
    questions: int
    differences: dict[str, Difference]


@dataclass(frozen=True, slots=True)
class Measured:
    """Effects by metric before they are corrected, from `n` pairs of answers to `rows` rows."""

    n: int
    rows: int
    questions: int
    effects: dict[str, Effect]


def compare_family(
    family: Iterable[PairedRows], tests: int, metrics: Sequence[str], *, corrected: bool = True
) -> list[Comparison]:
    """Compare all pairs of a family, one at a time; the `tests` of a metric are corrected together."""
    measured = [measure_pair(pair, metrics, tests) for pair in family]
    return correct_family(measured, corrected=corrected)


def correct_family(family: Sequence[Measured], *, corrected: bool = True) -> list[Comparison]:
    """Correct the p-values of each metric for all that are measured in it, if these are to be `corrected`."""
    differences: list[dict[str, Difference]] = [{} for _ in family]
    for name in dict.fromkeys(name for each in family for name in each.effects):
        members = [at for at, each in enumerate(family) if name in each.effects]
        p_values = [family[at].effects[name].p_value for at in members]
        for at, p_holm in zip(members, holm(p_values) if corrected else p_values, strict=True):
            differences[at][name] = _difference(family[at], name, p_holm, corrected)
    return [
        Comparison(each.n, each.rows, each.questions, of_pair)
        for each, of_pair in zip(family, differences, strict=True)
    ]


def measure_pair(pair: PairedRows, metrics: Sequence[str], tests: int) -> Measured:
    """Return effects, one of so many tests. Shares have exact p-values where all slots have all rows."""
    before, after = pair.before, pair.after
    exact = [name for name in metrics if name in SHARES and pair.is_complete]
    effects = paired_effects(
        flatten(before), flatten(after), flat_scores(metrics, before.shape[1]), clusters=pair.clusters,
        shuffles=shuffles_for(tests) if len(exact) < len(metrics) else 0,
    )  # fmt: skip
    for name in exact:
        was, is_now = (side[..., SHARES[name]].sum(axis=1) for side in (before, after))
        effects[name] = exact_effect(effects[name], was, is_now, pair.clusters)
    questions = len(np.unique(pair.clusters))
    scaled = {name: _scaled(_bounded(effect, questions), pair.scale) for name, effect in effects.items()}
    return Measured(pair.n, len(before), questions, scaled)


def exact_effect(
    effect: Effect, before: NDArray[np.int64], after: NDArray[np.int64], clusters: NDArray[np.int64]
) -> Effect:
    """Return the effect in a share with its exact p-value, from right answers by row, and its interval."""
    exact = replace(effect, p_value=clustered_mcnemar(before, after, clusters), p_is_bound=False)
    return _bounded(exact, len(np.unique(clusters)))


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


def _difference(measured: Measured, name: str, p_holm: float, corrected: bool) -> Difference:
    effect, questions = measured.effects[name], measured.questions
    # One question tells nothing of the others.
    low, high = (effect.low, effect.high) if questions > 1 else (-100.0, 100.0)
    return Difference(
        effect.difference, low, high, effect.p_value, p_holm, effect.p_is_bound, effect.least_visible,
        _standardized(effect, questions), measured.rows >= MIN_ROWS, corrected,
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
