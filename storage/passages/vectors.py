"""One order of results for every store.

Matrix products round differently with the shape of their operands, so that equal passages get unequal
scores and a query's answer depends on its neighbours in the batch. Candidates are therefore scored again,
each row by itself in double precision.

Vectors in 8 bits: a first look at every row that reads a quarter of the memory, and knows its error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.errors import ServiceError

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


MOST = 127
Floats = NDArray[np.float32]
Vector = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Int8Vectors:
    """Row i of the vectors is `steps[i] * numbers[i]` and a rest of length `rests[i]`.

    `numbers` are of shape [count, dimension], the others [count]; `lengths` are those of the coded rows.
    """

    numbers: NDArray[np.int8]
    steps: Floats
    rests: Floats
    lengths: Floats

    @classmethod
    def of(cls, vectors: Floats) -> Int8Vectors:
        """Each row is scaled by its own largest number, so that all 255 steps are used."""
        largest = np.abs(vectors).max(axis=1)
        steps = np.where(largest > 0, largest / np.float32(MOST), np.float32(1))
        numbers = np.rint(vectors / steps[:, None]).astype(np.int8)
        coded = numbers * steps[:, None]
        rests, lengths = (np.linalg.norm(rows, axis=1) for rows in (vectors - coded, coded))
        return cls(numbers, steps, rests, lengths)

    def save(self, folder: Path) -> None:
        np.save(folder / "codes.npy", self.numbers)
        np.save(folder / "scales.npy", np.stack([self.steps, self.rests, self.lengths]))

    @classmethod
    def load(cls, folder: Path) -> Int8Vectors:
        """Mapped and read-only. Raises OSError and ValueError."""
        numbers = np.load(folder / "codes.npy", mmap_mode="r")
        steps, rests, lengths = np.load(folder / "scales.npy")
        if len(numbers) != len(steps):
            raise ValueError("sizes do not match")
        return cls(numbers, steps, rests, lengths)

    def scores(self, query: Vector) -> tuple[Floats, Floats]:
        """(inner products with `query` [dimension], by how much each may be off), both [count].

        By Cauchy and Schwarz: what is left out of the row, times the query; what is left out of the query,
        times the coded row. Raises ServiceError where numkong is missing.
        """
        try:
            import numkong
        except ImportError:
            raise ServiceError(
                "passages: numkong is not installed; pip install 'starmill[retrieve]'"
            ) from None
        step = float(np.abs(query).max()) / MOST or 1.0
        number = np.rint(query / step).astype(np.int8)
        rest = float(np.linalg.norm(query - step * number))
        products = np.asarray(numkong.cdist(number[np.newaxis], np.asarray(self.numbers), "dot"))[0]
        scores = products.astype(np.float32) * (self.steps * np.float32(step))
        return scores, self.rests * np.float32(np.linalg.norm(query)) + self.lengths * np.float32(rest)
