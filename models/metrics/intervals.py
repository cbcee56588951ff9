"""Confidence intervals by the percentile bootstrap over rows (Efron 1979; Koehn 2004 for BLEU)."""

from __future__ import annotations

from collections.abc import Callable

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
