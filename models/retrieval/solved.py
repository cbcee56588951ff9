"""Solved examples: requests whose right passages are known speak for these passages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.retrieval.words import group_of

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
class Solved:
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
