"""A score over several seeds: the mean of the scores of each seed, with its interval.

Stats have the shape [rows, seeds, WIDTH]; an answer that a seed lacks has zeros. All answers to the rows of a
cluster are kept together: they are not independent.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.core.metrics.proportions import share_interval
from models.core.metrics.scores import COUNT, SCORES, SHARES, WIDTH
from models.core.metrics.significance import Floats, Interval, Score, bootstrap, cluster_sums

Stats = NDArray[np.int64]
ANYTHING: Interval = (0.0, 100.0)
_NO_WIDTH = 1e-6


def score_of_seeds(stats: Stats, name: str) -> tuple[float, float | None]:
    """Return the mean over the seeds of a score, and its standard deviation over several."""
    by_seed = SCORES[name](stats.sum(axis=0, dtype=np.float64))
    return float(by_seed.mean()), float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None


def score_interval(stats: Stats, name: str, clusters: ArrayLike | None = None, seed: int = 0) -> Interval:
    """Return the 95 % interval of a score of at least one row; `clusters` has a label for each.

    SHARES have Wilson's interval with the design effect of clusters and seeds, others the bootstrap's over
    clusters. Where all clusters are alike, which tells the bootstrap nothing, these have Wilson's for a share
    of the clusters; of one cluster they are ANYTHING.
    """
    if name in SHARES:
        counts = stats[:, :, [SHARES[name], COUNT]].sum(axis=1)
        return share_interval(*cluster_sums(counts, clusters).T)
    units = len(stats if clusters is None else np.unique(np.asarray(clusters)))
    if units == 1:
        return ANYTHING
    mean = mean_of_seeds(SCORES[name], stats.shape[1])
    low, high = bootstrap(flatten(stats), mean, seed, clusters=clusters)
    if high - low < _NO_WIDTH:
        return share_interval(np.full(units, low / 100), np.ones(units))
    return max(0.0, low), min(100.0, high)


def intervals(stats: ArrayLike, seed: int = 0, clusters: ArrayLike | None = None) -> dict[str, Interval]:
    """Return the `score_interval` of every score of rows of one seed, shape [rows, WIDTH]."""
    rows = np.asarray(stats, dtype=np.int64).reshape(-1, 1, WIDTH)
    return {name: score_interval(rows, name, clusters, seed) for name in SCORES}


def mean_of_seeds(score: Score, seeds: int) -> Score:
    """Return a function from sums of `flatten`, shape [n, seeds * WIDTH], to the mean over seeds: [n]."""

    def mean(sums: Floats) -> Floats:
        return np.asarray(score(sums.reshape(-1, seeds, WIDTH)).mean(axis=-1), dtype=np.float64)

    return mean


def flat_scores(names: Iterable[str], seeds: int) -> dict[str, Score]:
    """Return `mean_of_seeds` of these scores by name."""
    return {name: mean_of_seeds(SCORES[name], seeds) for name in names}


def flatten(stats: Stats) -> Stats:
    """Return the stats as [rows, seeds * WIDTH]."""
    return stats.reshape(len(stats), -1)
