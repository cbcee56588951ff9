"""Train requests as vectors: their votes for passages, and the choice of exemplars by distance."""

from __future__ import annotations

import base64
import random
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.core.words import question_group

Floats = NDArray[np.float32]
# Similarities of unit vectors are divided by it before the softmax of votes: smaller means fewer examples
# count.
SHARPNESS = 0.06
LIBRARY_SHARPNESS = 0.15
NEAREST = 20


@dataclass(frozen=True, slots=True)
class Votes:
    """The votes of solved examples for each passage.

    `share` is its share of votes, `nearest` its similarity to the nearest example that names it (0 if none of
    the nearest does), `popular` the number of examples that name it. `library` is the share of each library,
    `certainty` the similarity of the very nearest example.
    """

    share: Floats
    nearest: Floats
    popular: Floats
    library: Floats
    certainty: float


def no_votes(passages: int, libraries: int) -> Votes:
    zeros = np.zeros(passages, dtype=np.float32)
    return Votes(zeros, zeros, zeros, np.zeros(libraries, dtype=np.float32), 0.0)


@dataclass(frozen=True, slots=True)
class SolvedExamples:
    """Requests whose right passages are known, and so vote for these passages.

    `whole` and `bare` are unit vectors of the requests with and without literals, [examples, d]. `groups`
    names the question of each; `answers` marks its passages, [examples, passages].
    """

    whole: Floats
    bare: Floats
    groups: NDArray[np.str_]
    answers: sparse.csr_array

    def similarities(self, whole: Floats, bare: Floats) -> Floats:
        """Return the similarities of queries, given by both their vectors, [queries, examples]."""
        sums: Floats = normalize(whole) @ self.whole.T + normalize(bare) @ self.bare.T
        return sums / np.float32(2)

    def votes(
        self, similarity: Floats, admitted: NDArray[np.bool_], library: NDArray[np.int64], libraries: int
    ) -> Votes:
        """Return the votes of the `admitted` examples for a query with these similarities, both
        [examples]."""
        passages = self.answers.shape[1]
        if not admitted.any():
            return no_votes(passages, libraries)
        near = np.where(admitted, similarity, -np.inf)
        best = float(near.max())
        transposed = self.answers.T
        nearest = np.zeros(passages, dtype=np.float32)
        for row in np.argsort(-near, kind="stable")[:NEAREST][::-1]:
            if admitted[row]:
                nearest[self._answers_of(row)] = near[row]
        weights = np.exp((near - best) / SHARPNESS)
        wide = transposed @ np.exp((near - best) / LIBRARY_SHARPNESS)
        shares = np.bincount(library, weights=wide, minlength=libraries)
        return Votes(
            share=(transposed @ (weights / weights.sum())).astype(np.float32),
            nearest=nearest,
            popular=(transposed @ admitted.astype(np.float32)).astype(np.float32),
            library=(shares / max(shares.sum(), 1e-9)).astype(np.float32),
            certainty=best,
        )

    def others(self, question_id: str) -> NDArray[np.bool_]:
        """Mark the examples of other questions; a paraphrase would give the answer away."""
        return np.asarray(self.groups != question_group(question_id))

    def without(self, passage: int) -> NDArray[np.bool_]:
        """Mark the examples that do not name the passage of this row."""
        admitted = np.ones(len(self.groups), dtype=np.bool_)
        admitted[self.answers[:, [passage]].nonzero()[0]] = False
        return admitted

    def _answers_of(self, row: int) -> NDArray[np.int32]:
        start, end = self.answers.indptr[row : row + 2]
        rows: NDArray[np.int32] = self.answers.indices[start:end]
        return rows


def normalize(vectors: Floats) -> Floats:
    """Scale `vectors` to length one; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def answer_matrix(answers: Sequence[Sequence[int]], passages: int) -> sparse.csr_array:
    """Return a matrix that is 1 if a passage answers an example, [examples, passages]."""
    ends = np.cumsum([0, *map(len, answers)])
    rows = np.array([row for rows in answers for row in rows], dtype=np.int32)
    return sparse.csr_array(
        (np.ones(len(rows), dtype=np.float32), rows, ends), shape=(len(answers), passages)
    )


# Candidates for the next exemplar; the one that covers most is taken.
CANDIDATES = 16
# The largest half of a squared distance of unit vectors.
FARTHEST = 2.0


def pack_vector(vector: Floats) -> str:
    """Encode a vector for the ledger: unit length, half precision, base64."""
    length = max(float(np.linalg.norm(vector)), 1e-12)
    return base64.b64encode((vector / np.float32(length)).astype("<f2").tobytes()).decode()


def unpack_vector(text: str) -> Floats:
    return np.frombuffer(base64.b64decode(text), dtype="<f2").astype(np.float32)


@dataclass(frozen=True, slots=True)
class EmbeddingIndex:
    """Unit vectors of the train requests, [examples, d]."""

    ids: Sequence[int]
    vectors: Floats
    keys: NDArray[np.uint64] | None = None

    @classmethod
    def of(cls, records: Iterable[tuple[int, str]], keys: Mapping[int, int] | None = None) -> EmbeddingIndex:
        """Build the index from pairs of an example and its packed vector. Draws depend on `keys`, numbers
        below 2^64 that look random, or without them on the examples' places."""
        pairs = list(records)
        vectors = np.stack([unpack_vector(vector) for _, vector in pairs]) if pairs else np.zeros((0, 1))
        ids = [example for example, _ in pairs]
        own = None if keys is None else np.array([keys[example] for example in ids], dtype=np.uint64)
        return cls(ids, vectors.astype(np.float32), own)

    def nearest(self, vector: Floats, among: Container[int], count: int) -> list[int]:
        """Return the `count` nearest examples of `among`, the nearest first."""
        if not self.ids:
            return []
        order = np.argsort(-(self.vectors @ vector), kind="stable")
        return list(islice((self.ids[row] for row in order if self.ids[row] in among), count))

    def diverse(self, among: Container[int], count: int, seed: str) -> list[int]:
        """Return `count` examples of `among` that cover all train requests, or fewer if there are no more.

        Greedy k-means++ (Arthur and Vassilvitskii, 2007): CANDIDATES are drawn with a chance that grows with
        the squared distance to the visited examples, and the one that leaves the smallest distances is
        visited next. Examples outside of `among` are visited but not returned, so that the sets of one seed
        overlap.
        """
        rng = random.Random(seed)
        wanted = min(count, sum(example in among for example in self.ids))
        far: Floats = np.full(len(self.ids), FARTHEST, dtype=np.float32)
        visited = np.zeros(len(self.ids), dtype=np.bool_)
        chosen: list[int] = []
        while len(chosen) < wanted:
            row, far = self._next(far, visited, rng)
            visited[row] = True
            if self.ids[row] in among:
                chosen.append(self.ids[row])
        return chosen

    def _next(self, far: Floats, visited: NDArray[np.bool_], rng: random.Random) -> tuple[int, Floats]:
        """Return the row to visit next, and the distance of each example to the nearest visited one."""
        weights = np.where(visited, 0, far)
        if weights.sum() <= 0:  # only copies of visited examples are left
            return int(np.flatnonzero(~visited)[0]), far
        rows = _by_place(weights, rng) if self.keys is None else _by_key(weights, self.keys, rng)
        left = np.minimum(far, np.maximum(0, 1 - self.vectors[rows] @ self.vectors.T))
        best = int(left.sum(axis=1).argmin())
        return int(rows[best]), np.asarray(left[best], dtype=np.float32)


def _by_place(weights: Floats, rng: random.Random) -> NDArray[np.intp]:
    """Draw CANDIDATES rows with chances as their weights."""
    sums = np.cumsum(weights, dtype=np.float64)
    points = [rng.random() * sums[-1] for _ in range(CANDIDATES)]
    rows = np.searchsorted(sums, points, side="right")
    last = np.searchsorted(sums, sums[-1])
    return np.asarray(np.minimum(rows, last), dtype=np.intp)  # a product may be rounded up


def _by_key(weights: Floats, keys: NDArray[np.uint64], rng: random.Random) -> NDArray[np.intp]:
    """Draw CANDIDATES different rows with chances as their weights, fewer if no more have one (Efraimidis and
    Spirakis, 2006). A row that is added changes the draw only if it is drawn."""
    factor, shift = np.uint64(rng.getrandbits(64) | 1), np.uint64(rng.getrandbits(64))
    chances = (((keys * factor + shift) >> np.uint64(11)) + 0.5) / 2.0**53
    with np.errstate(divide="ignore"):
        times = -np.log(chances) / weights
    count = min(CANDIDATES, int(np.count_nonzero(weights)))
    return np.argsort(times, kind="stable")[:count]
