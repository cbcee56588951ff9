"""Confidence intervals of scores, and exact tests if two sets of answers to the same rows differ.

Rows of one cluster, such as phrasings of one question, are not independent: whole clusters are drawn and
swapped, and without clusters each row is one. Intervals are percentile bootstraps (Efron 1979) with the tails
of Student's t, which few clusters need (Hesterberg 2015, section 3.3), or the jackknife's where that reaches
farther: corpus scores of a few long texts are skewed, and neither holds them often enough alone. In pairs, a
cluster is drawn with both of its answers (Koehn 2004). p-values come from swapping the two answers of
clusters at random: approximate randomization (Noreen 1989; Riezler and Maxwell 2005). Flags have exact forms:
McNemar's test, and for clusters the distribution of all swaps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import lgamma, log, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.core.metrics.quantiles import NORMAL, t_quantile

Floats = NDArray[np.float64]
Interval = tuple[float, float]
Score = Callable[[Floats], Floats]
DRAWS_AT_ONCE = 1 << 20
# Smaller differences are rounding.
EQUAL = 1e-9


def bootstrap(
    statistics: ArrayLike,
    score: Score,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
    clusters: ArrayLike | None = None,
) -> Interval:
    """Return the confidence interval of a score at `level`, as (low, high).

    `statistics` has shape [rows, k], `clusters` has a label for each row. A resample draws the same number of
    clusters with replacement, each with all its rows; `score` maps the sums of resamples, shape
    [resamples, k], to their scores, shape [resamples]. Memory beyond the statistics is bounded by a million
    draws, or one resample if that is larger. Raise ValueError without rows.
    """
    values = cluster_sums(statistics, clusters)
    if not len(values):
        raise ValueError("a bootstrap needs at least one row")
    rng = np.random.default_rng(seed)
    sizes = batch_sizes(resamples, len(values))
    scores = [score(draw_counts(rng, size, len(values)) @ values) for size in sizes]
    observed = float(score(values.sum(axis=0)[None])[0])
    without = np.concatenate([score(sums) for sums in sums_without_one(values)])
    return percentile_interval(np.concatenate(scores), without, observed, level)


def cluster_sums(statistics: ArrayLike, clusters: ArrayLike | None) -> Floats:
    """Return the sums of the statistics of each cluster, shape [clusters, k], in the order of their first
    rows; the statistics themselves without clusters."""
    values = np.asarray(statistics, dtype=np.float64)
    if clusters is None:
        return values
    _, first, label = np.unique(np.asarray(clusters), return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.intp)
    rank[np.argsort(first)] = np.arange(len(first))
    sums = np.zeros((len(first), *values.shape[1:]))
    np.add.at(sums, rank[label], values)
    return sums


def draw_counts(rng: np.random.Generator, resamples: int, rows: int) -> Floats:
    """Draw resamples and count each row in each of them, shape [resamples, rows]."""
    drawn = rng.integers(rows, size=(resamples, rows))
    drawn += np.arange(resamples)[:, None] * rows
    return np.bincount(drawn.ravel(), minlength=resamples * rows).reshape(resamples, rows).astype(np.float64)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value for two sets of flags, from the numbers of rows that only one set
    has."""
    differing, fewer = only_first + only_second, min(only_first, only_second)
    below, outcomes = sum(_choices(differing, fewer)), 1 << differing
    return min(1.0, 2 * below / outcomes)


def clustered_mcnemar(first: ArrayLike, second: ArrayLike, clusters: ArrayLike | None = None) -> float:
    """Return the exact two-sided p-value for two sets of numbers of right answers to the same rows, shape
    [rows], where the answers of a whole cluster are swapped: `mcnemar` for flags and one row a cluster."""
    changes = np.asarray(second, dtype=np.int64) - np.asarray(first, dtype=np.int64)
    by_cluster = cluster_sums(changes[:, None], clusters)[:, 0].astype(np.int64)
    sizes, numbers = np.unique(np.abs(by_cluster[by_cluster != 0]), return_counts=True)
    chances = np.ones(1)
    for size, number in zip(sizes.tolist(), numbers.tolist(), strict=True):
        chances = np.convolve(chances, _signed_sums(size, number))
    totals = np.arange(len(chances)) - len(chances) // 2
    as_large = float(chances[np.abs(totals) >= abs(int(by_cluster.sum()))].sum())
    # At least two outcomes are as large as the observed: itself, and all of it swapped.
    return min(1.0, max(as_large, 2.0 ** (1 - int(numbers.sum()))))


def _signed_sums(size: int, number: int) -> Floats:
    """Return the chances of all sums of `number` times +size or -size, from the lowest to the highest; sums
    beyond ten standard deviations are left out."""
    reach = min(number // 2, int(5 * sqrt(number)) + 1)
    ups = range(number // 2 - reach, number - number // 2 + reach + 1)
    logs = [lgamma(number + 1) - lgamma(up + 1) - lgamma(number - up + 1) - number * log(2) for up in ups]
    chances = np.zeros(2 * size * (len(logs) - 1) + 1)
    chances[:: 2 * size] = np.exp(logs)
    return chances


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that hold for all of these tests together (Holm 1979), in their order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def sums_without_one(values: Floats) -> Iterator[Floats]:
    """Yield the sums of all but one unit, for each unit, in batches that fit into memory; of a single unit
    the unit itself."""
    if len(values) == 1:
        yield values
        return
    total, start = values.sum(axis=0), 0
    for size in batch_sizes(len(values), values.shape[1]):
        yield total - values[start : start + size]
        start += size


def percentile_interval(drawn: Floats, without: Floats, observed: float, level: float) -> Interval:
    """Return the interval from scores of resamples, shape [resamples], and from those `without` one unit,
    shape [units]. Both ends are computed alike, so that the interval of -scores is the same, turned round."""
    units, tail = len(without), (1.0 - level) / 2.0
    if units < 2:
        return observed, observed
    t = t_quantile(1.0 - tail, units - 1)
    tail = NORMAL.cdf(-t * sqrt(units / (units - 1)))
    reach = t * float(without.std()) * sqrt(units - 1)
    low, high = float(np.quantile(drawn, tail)), -float(np.quantile(-drawn, tail))
    return (min(low, observed - reach), max(high, observed + reach)) if reach > EQUAL else (low, high)


def batch_sizes(draws: int, rows: int) -> Iterator[int]:
    """Yield sizes of batches that sum to `draws` and fit into memory."""
    at_once = max(1, DRAWS_AT_ONCE // rows)
    for start in range(0, draws, at_once):
        yield min(at_once, draws - start)


def _choices(n: int, last: int) -> Iterator[int]:
    """Yield C(n, 0) ... C(n, last), each computed from the one before."""
    term = 1
    for count in range(last + 1):
        yield term
        term = term * (n - count) // (count + 1)
