"""Vectors in 8 bits: a first look at every row that reads a quarter of the memory, and knows its error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ServiceError

MOST = 127
Floats = NDArray[np.float32]
Vector = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Codes:
    """Row i of the vectors is `steps[i] * numbers[i]` and a rest of length `rests[i]`.

    `numbers` are of shape [count, dimension], the others [count]; `lengths` are those of the coded rows.
    """

    numbers: NDArray[np.int8]
    steps: Floats
    rests: Floats
    lengths: Floats

    @classmethod
    def of(cls, vectors: Floats) -> Codes:
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
    def load(cls, folder: Path) -> Codes:
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
