"""Confidence intervals by the percentile bootstrap over rows (Efron 1979; Koehn 2004 for BLEU).

Whether two sets of answers to the same rows differ by more than chance.

Intervals are percentile bootstraps in which a row is drawn with both of its answers (Koehn 2004). p-values
come from swapping the two answers of rows at random: approximate randomization (Noreen 1989; Riezler and
Maxwell 2005). For one flag a row its exact form is McNemar's test.
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
    """The confidence interval of a score at `level`, as (low, high).

    `statistics` has shape [rows, k]. A resample draws as many rows with replacement; `score` maps
    the sums of resamples, shape [resamples, k], to their scores, shape [resamples]. Memory beyond
    the statistics is bounded by a million draws, or one resample where that is more.
    ValueError where there are no rows.
    """
    values = np.asarray(statistics, dtype=np.float64)
    rows = len(values)
    if rows == 0:
        raise ValueError("a bootstrap needs at least one row")
    draw = np.random.default_rng(seed)
    at_once = max(1, DRAWS_AT_ONCE // rows)
    scores = []
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        scores.append(score(times_drawn(draw, size, rows) @ values))
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(np.concatenate(scores), [tail, 1.0 - tail])
    return float(low), float(high)


def times_drawn(draw: np.random.Generator, resamples: int, rows: int) -> Floats:
    """How often each resample holds each row, shape [resamples, rows]."""
    drawn = draw.integers(rows, size=(resamples, rows))
    drawn += np.arange(resamples)[:, None] * rows
    return np.bincount(drawn.ravel(), minlength=resamples * rows).reshape(resamples, rows).astype(np.float64)


# A difference of this size is one of rounding.
_EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Effect:
    """What the second set scores above the first, in the unit of the score, with its confidence interval,
    and the two-sided probability of so large a difference were both sets alike."""

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
    """The effect in every score, from the statistics of the same rows, both of shape [rows, k].

    Scores map sums of statistics, shape [n, k], to shape [n]. All of them see the same draws. p-values are
    at least 1 / (shuffles + 1). ValueError where the shapes differ or there are no rows.
    """
    before, after = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if before.shape != after.shape or not len(before):
        raise ValueError(
            f"paired rows have equal shapes and are not none, found {before.shape} and {after.shape}"
        )
    sums = before.sum(axis=0), after.sum(axis=0)
    draw = np.random.default_rng(seed)
    drawn = [
        (weights @ before, weights @ after)
        for weights in (times_drawn(draw, size, len(before)) for size in _batches(resamples, len(before)))
    ]
    moved = [_swaps(draw, size, len(before)) @ (after - before) for size in _batches(shuffles, len(before))]
    swapped = [(sums[0] + change, sums[1] - change) for change in moved]
    tail = (1.0 - level) / 2.0
    found = {}
    for name, score in scores.items():
        observed = _differences([(sums[0][None], sums[1][None])], score)[0]
        low, high = np.quantile(_differences(drawn, score), [tail, 1.0 - tail])
        as_large = np.abs(_differences(swapped, score)) >= abs(observed) - _EQUAL
        p_value = (int(as_large.sum()) + 1) / (shuffles + 1)
        found[name] = Effect(float(observed), float(low), float(high), p_value)
    return found


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value for two sets of flags, from how many rows only one of them has."""
    differing, fewer = only_first + only_second, min(only_first, only_second)
    below, outcomes = sum(_choices(differing, fewer)), 1 << differing
    return min(1.0, 2 * below / outcomes)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values that hold for all of these tests together (Holm 1979), in their order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    found, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        found[place] = highest
    return found


def _differences(sums: Sequence[tuple[Floats, Floats]], score: Callable[[Floats], Floats]) -> Floats:
    return np.concatenate([score(after) - score(before) for before, after in sums])


def _batches(draws: int, rows: int) -> Iterator[int]:
    """Sizes that keep what is drawn at once within bounds."""
    at_once = max(1, DRAWS_AT_ONCE // rows)
    for start in range(0, draws, at_once):
        yield min(at_once, draws - start)


def _swaps(draw: np.random.Generator, shuffles: int, rows: int) -> NDArray[np.float64]:
    return draw.integers(2, size=(shuffles, rows), dtype=np.int8).astype(np.float64)


def _choices(of: int, up_to: int) -> Iterator[int]:
    """C(of, 0) ... C(of, up_to), each from the one before."""
    term = 1
    for count in range(up_to + 1):
        yield term
        term = term * (of - count) // (count + 1)
