"""One order of results for every store.

Matrix products round differently with the shape of their operands, so that equal passages get unequal
scores and a query's answer depends on its neighbours in the batch. Candidates are therefore scored again,
each row by itself in double precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ServiceError

# More than float32 products of unit vectors differ by; of longer ones, as a share of the product.
SLACK = 1e-5
Vectors = NDArray[np.floating[Any]]


def ranked(
    query: Vectors, vectors: Vectors, keys: Sequence[str] | Sequence[int], k: int
) -> list[tuple[int, float]]:
    """Rows of `vectors` [m, d] and their scores: the `k` best for `query` [d], ties by `keys`."""
    scores = (vectors.astype(np.float64) * query).sum(axis=1)
    order = sorted(range(len(keys)), key=lambda row: (-scores[row], keys[row]))
    return [(row, float(scores[row])) for row in order[:k]]


def check_dimension(vectors: Vectors, dimension: int, place: str) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise ServiceError(
            f"{place} holds vectors of {dimension} numbers, the query has shape {list(vectors.shape)}; "
            "search with the encoder that built the index, or build it again"
        )
