"""Confidence intervals of scores, and tests if two sets of answers to the same rows differ.

Intervals are percentile bootstraps over rows (Efron 1979); in pairs, a row is drawn with both of its answers
(Koehn 2004). p-values come from swapping the two answers of rows at random: approximate randomization (Noreen
1989; Riezler and Maxwell 2005). McNemar's test is its exact form for one flag a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]
DRAWS_AT_ONCE = 1 << 20


def bootstrap(
    statistics: ArrayLike,
    score: Callable[[Floats], Floats],
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Return the confidence interval of a score at `level`, as (low, high).

    `statistics` has shape [rows, k]. A resample draws the same number of rows with replacement; `score` maps
    the sums of resamples, shape [resamples, k], to their scores, shape [resamples]. Memory beyond the
    statistics is bounded by a million draws, or one resample if that is larger. Raise ValueError without
    rows.
    """
    values = np.asarray(statistics, dtype=np.float64)
    if not len(values):
        raise ValueError("a bootstrap needs at least one row")
    rng = np.random.default_rng(seed)
    sizes = _batches(resamples, len(values))
    scores = [score(draw_counts(rng, size, len(values)) @ values) for size in sizes]
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(np.concatenate(scores), [tail, 1.0 - tail])
    return float(low), float(high)


def draw_counts(rng: np.random.Generator, resamples: int, rows: int) -> Floats:
    """Draw resamples and count each row in each of them, shape [resamples, rows]."""
    drawn = rng.integers(rows, size=(resamples, rows))
    drawn += np.arange(resamples)[:, None] * rows
    return np.bincount(drawn.ravel(), minlength=resamples * rows).reshape(resamples, rows).astype(np.float64)


# Smaller differences are rounding.
_EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Effect:
    """The second set's score minus the first's, with its confidence interval, and the two-sided probability
    of such a difference between equal sets."""

    difference: float
    low: float
    high: float
    p_value: float


def paired_effects(
    first: ArrayLike,
    second: ArrayLike,
    scores: Mapping[str, Callable[[Floats], Floats]],
    seed: int = 0,
    *,
    resamples: int = 1000,
    shuffles: int = 9999,
    level: float = 0.95,
) -> dict[str, Effect]:
    """Return the effect in every score from statistics of the same rows, both of shape [rows, k].

    Scores map sums of statistics, shape [n, k], to shape [n]. All use the same draws. p-values are at least
    1 / (shuffles + 1). Raise ValueError if the shapes differ or there are no rows.
    """
    before, after = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if before.shape != after.shape or not len(before):
        raise ValueError(
            f"paired rows have equal shapes and are not none, found {before.shape} and {after.shape}"
        )
    sums = before.sum(axis=0), after.sum(axis=0)
    rng = np.random.default_rng(seed)
    counts = (draw_counts(rng, size, len(before)) for size in _batches(resamples, len(before)))
    drawn = [(count @ before, count @ after) for count in counts]
    changes = [_swaps(rng, size, len(before)) @ (after - before) for size in _batches(shuffles, len(before))]
    swapped = [(sums[0] + change, sums[1] - change) for change in changes]
    tail = (1.0 - level) / 2.0
    effects = {}
    for name, score in scores.items():
        observed = _differences([(sums[0][None], sums[1][None])], score)[0]
        low, high = np.quantile(_differences(drawn, score), [tail, 1.0 - tail])
        as_large = np.abs(_differences(swapped, score)) >= abs(observed) - _EQUAL
        p_value = (int(as_large.sum()) + 1) / (shuffles + 1)
        effects[name] = Effect(float(observed), float(low), float(high), p_value)
    return effects


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value for two sets of flags, from the numbers of rows that only one set
    has."""
    differing, fewer = only_first + only_second, min(only_first, only_second)
    below, outcomes = sum(_choices(differing, fewer)), 1 << differing
    return min(1.0, 2 * below / outcomes)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that hold for all of these tests together (Holm 1979), in their order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _differences(sums: Sequence[tuple[Floats, Floats]], score: Callable[[Floats], Floats]) -> Floats:
    return np.concatenate([score(after) - score(before) for before, after in sums])


def _batches(draws: int, rows: int) -> Iterator[int]:
    """Yield sizes of batches that sum to `draws` and fit into memory."""
    at_once = max(1, DRAWS_AT_ONCE // rows)
    for start in range(0, draws, at_once):
        yield min(at_once, draws - start)


def _swaps(rng: np.random.Generator, shuffles: int, rows: int) -> Floats:
    return rng.integers(2, size=(shuffles, rows), dtype=np.int8).astype(np.float64)


def _choices(n: int, last: int) -> Iterator[int]:
    """Yield C(n, 0) ... C(n, last), each computed from the one before."""
    term = 1
    for count in range(last + 1):
        yield term
        term = term * (n - count) // (count + 1)
