"""Solved examples: requests whose right passages are known speak for these passages.

Train requests by how near they are to each other and to a test request.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.core.words import group_of

Floats = NDArray[np.float32]
# How fast the voice of an example fades with its distance: similarities of unit vectors are divided by it.
SHARPNESS = 0.06
LIBRARY_SHARPNESS = 0.15
NEAREST = 20


@dataclass(frozen=True, slots=True)
class Votes:
    """For each passage: the `share` of votes, its similarity to the `nearest` example that names it (0 where
    none of the nearest does), and how `popular` it is among all. `library` is the share of each library;
    `certainty` is the similarity of the very nearest example."""

    share: Floats
    nearest: Floats
    popular: Floats
    library: Floats
    certainty: float


@dataclass(frozen=True, slots=True)
class SolvedExamples:
    """`whole` and `bare` are vectors of the requests as they are and without literals, [examples, d], of unit
    length; `groups` names the question of each; `answers` marks its passages, [examples, passages]."""

    whole: Floats
    bare: Floats
    groups: NDArray[np.str_]
    answers: sparse.csr_array

    def similarities(self, whole: Floats, bare: Floats) -> Floats:
        """[queries, examples] of queries given by both their vectors."""
        sums: Floats = unit(whole) @ self.whole.T + unit(bare) @ self.bare.T
        return sums / np.float32(2)

    def votes(
        self, similarity: Floats, admitted: NDArray[np.bool_], library: NDArray[np.int64], libraries: int
    ) -> Votes:
        """What the `admitted` examples say of a query with these similarities, both of shape [examples]."""
        passages = self.answers.shape[1]
        if not admitted.any():
            none = np.zeros(passages, dtype=np.float32)
            return Votes(none, none, none, np.zeros(libraries, dtype=np.float32), 0.0)
        near = np.where(admitted, similarity, -np.inf)
        best = float(near.max())
        transposed = self.answers.T
        nearest = np.zeros(passages, dtype=np.float32)
        for row in np.argsort(-near, kind="stable")[:NEAREST][::-1]:
            if admitted[row]:
                nearest[self._answers_of(row)] = near[row]
        voices = np.exp((near - best) / SHARPNESS)
        wide = transposed @ np.exp((near - best) / LIBRARY_SHARPNESS)
        shares = np.bincount(library, weights=wide, minlength=libraries)
        return Votes(
            share=(transposed @ (voices / voices.sum())).astype(np.float32),
            nearest=nearest,
            popular=(transposed @ admitted.astype(np.float32)).astype(np.float32),
            library=(shares / max(shares.sum(), 1e-9)).astype(np.float32),
            certainty=best,
        )

    def others(self, question_id: str) -> NDArray[np.bool_]:
        """Which examples are of other questions; a paraphrase would give the answer away."""
        return np.asarray(self.groups != group_of(question_id))

    def without(self, passage: int) -> NDArray[np.bool_]:
        """Which examples do not name the passage of this row."""
        admitted = np.ones(len(self.groups), dtype=np.bool_)
        admitted[self.answers[:, [passage]].nonzero()[0]] = False
        return admitted

    def _answers_of(self, row: int) -> NDArray[np.int32]:
        start, end = self.answers.indptr[row : row + 2]
        rows: NDArray[np.int32] = self.answers.indices[start:end]
        return rows


def unit(vectors: Floats) -> Floats:
    """`vectors` at length one; a vector of nothing stays what it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def answer_matrix(answers: Sequence[Sequence[int]], passages: int) -> sparse.csr_array:
    """[examples, passages], 1 where a passage answers an example."""
    ends = np.cumsum([0, *map(len, answers)])
    rows = np.array([row for rows in answers for row in rows], dtype=np.int32)
    return sparse.csr_array(
        (np.ones(len(rows), dtype=np.float32), rows, ends), shape=(len(answers), passages)
    )


# Of so many that may come next the one is taken that covers most.
CANDIDATES = 16
# Half the squared distance of unit vectors, at most.
FARTHEST = 2.0


def pack_vector(vector: Floats) -> str:
    """A vector as the ledger keeps it: of unit length, in half precision, as base64."""
    length = max(float(np.linalg.norm(vector)), 1e-12)
    return base64.b64encode((vector / np.float32(length)).astype("<f2").tobytes()).decode()


def unpack_vector(text: str) -> Floats:
    return np.frombuffer(base64.b64decode(text), dtype="<f2").astype(np.float32)


@dataclass(frozen=True, slots=True)
class EmbeddingIndex:
    """`vectors` of the train requests, [examples, d], of unit length."""

    ids: Sequence[int]
    vectors: Floats

    @classmethod
    def of(cls, records: Iterable[tuple[int, str]]) -> EmbeddingIndex:
        """From (example, packed vector)."""
        found = list(records)
        vectors = np.stack([unpack_vector(vector) for _, vector in found]) if found else np.zeros((0, 1))
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
