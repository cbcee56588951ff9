"""Train requests by how near they are to each other and to a test request."""

from __future__ import annotations

import base64
import random
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
# Of so many that may come next the one is taken that covers most.
CANDIDATES = 16
# Half the squared distance of unit vectors, at most.
FARTHEST = 2.0


def pack(vector: Floats) -> str:
    """A vector as the ledger keeps it: of unit length, in half precision, as base64."""
    length = max(float(np.linalg.norm(vector)), 1e-12)
    return base64.b64encode((vector / np.float32(length)).astype("<f2").tobytes()).decode()


def unpack(text: str) -> Floats:
    return np.frombuffer(base64.b64decode(text), dtype="<f2").astype(np.float32)


@dataclass(frozen=True, slots=True)
class Space:
    """`vectors` of the train requests, [examples, d], of unit length."""

    ids: Sequence[int]
    vectors: Floats

    @classmethod
    def of(cls, records: Iterable[tuple[int, str]]) -> Space:
        """From (example, packed vector)."""
        found = list(records)
        vectors = np.stack([unpack(vector) for _, vector in found]) if found else np.zeros((0, 1))
        return cls([example for example, _ in found], vectors.astype(np.float32))

    def nearest(self, vector: Floats, among: Container[int], count: int) -> list[int]:
        """The `count` examples of `among` that are nearest, the very nearest first."""
        if not self.ids:
            return []
        order = np.argsort(-(self.vectors @ vector), kind="stable")
        chosen: list[int] = []
        for row in order:
            if len(chosen) == count:
                break
            if self.ids[row] in among:
                chosen.append(self.ids[row])
        return chosen

    def diverse(self, among: Container[int], count: int, seed: str) -> list[int]:
        """`count` examples of `among` that cover all train requests, fewer where there are no more.

        Greedy k-means++ (Arthur and Vassilvitskii, 2007): of CANDIDATES drawn with a chance that grows
        with the squared distance to what was met, the one that leaves the least of it. Examples that are
        not in `among` are met and passed over, so that the sets of one seed share what they can.
        """
        draw = random.Random(seed)
        wanted = min(count, sum(example in among for example in self.ids))
        far: Floats = np.full(len(self.ids), FARTHEST, dtype=np.float32)
        met = np.zeros(len(self.ids), dtype=np.bool_)
        chosen: list[int] = []
        while len(chosen) < wanted:
            row, far = self._next(far, met, draw)
            met[row] = True
            if self.ids[row] in among:
                chosen.append(self.ids[row])
        return chosen

    def _next(self, far: Floats, met: NDArray[np.bool_], draw: random.Random) -> tuple[int, Floats]:
        """The row to meet next, and how far each example is from the nearest that was met."""
        sums = np.cumsum(np.where(met, 0, far), dtype=np.float64)
        if sums[-1] <= 0:  # only copies of what was met are left
            return int(np.flatnonzero(~met)[0]), far
        points = [draw.random() * sums[-1] for _ in range(CANDIDATES)]
        rows = np.searchsorted(sums, points, side="right")
        rows = np.minimum(rows, np.searchsorted(sums, sums[-1]))  # a product may be rounded up
        left = np.minimum(far, np.maximum(0, 1 - self.vectors[rows] @ self.vectors.T))
        best = int(left.sum(axis=1).argmin())
        return int(rows[best]), np.asarray(left[best], dtype=np.float32)
