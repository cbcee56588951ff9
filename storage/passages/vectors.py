"""Scores of vectors that are the same in every store and every batch.

A matrix product rounds differently with the shape of its operands: equal passages would get unequal scores,
and the neighbours of a query in its batch would change its answer. The candidates that a fast search finds
are therefore scored again, one row at a time, in double precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.errors import ServiceError

# Products in float32 differ from exact ones by less than this share of the product of the two lengths.
ROUNDING = 1e-5
Vectors = NDArray[np.floating[Any]]


def ranked(
    query: Vectors, vectors: Vectors, keys: Sequence[str] | Sequence[int], k: int
) -> list[tuple[int, float]]:
    """Return the `k` best rows of `vectors` [m, d] for `query` [d], with scores; `keys` decide ties."""
    scores = (vectors.astype(np.float64) * query).sum(axis=1)
    order = sorted(range(len(keys)), key=lambda row: (-scores[row], keys[row]))
    return [(row, float(scores[row])) for row in order[:k]]


def check_dimension(vectors: Vectors, dimension: int, label: str) -> None:
    """Raise ServiceError unless `vectors` are rows of `dimension` numbers; `label` names the store."""
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise ServiceError(
            f"{label} holds vectors of {dimension} numbers, the query has shape {list(vectors.shape)}; "
            "search with the encoder that built the index, or build it again"
        )
