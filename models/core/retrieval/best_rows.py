"""The best of many scores, without sorting all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]


def top_rows(scores: Scores, count: int) -> NDArray[np.int64]:
    """Return the rows of the `count` best scores, in no order."""
    if count >= len(scores):
        return np.arange(len(scores))
    return np.argpartition(-scores, count)[:count]


def best_rows(scores: Scores, count: int) -> NDArray[np.int64]:
    """Return the rows of the `count` best scores, best first, ties in the order of rows."""
    rows = np.arange(len(scores))
    if 0 < count < len(scores):
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        rows = np.flatnonzero(scores >= least)
    order: NDArray[np.int64] = rows[np.lexsort((rows, -scores[rows]))][:count]
    return order


def ranks(scores: Scores) -> NDArray[np.float64]:
    """Return 0 for the best score, 1 for the next."""
    ranked = np.empty(len(scores))
    ranked[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return ranked
