"""Train requests as vectors: their votes for passages, and the choice of exemplars by distance."""

from __future__ import annotations

import base64
import random
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.core.retrieval.best_rows import best_rows
from models.core.retrieval.name_groups import Integers, NameGroups
from models.core.words import question_group

Floats = NDArray[np.float32]
# Similarities of unit vectors are divided by it before the softmax of votes: smaller means fewer examples
# count.
SHARPNESS = 0.06
LIBRARY_SHARPNESS = 0.15
NEAREST = 20


class GroupVotes(NamedTuple):
    """The votes of solved examples for each group of one kind, all [groups].

    `share` is the group's share of votes, `popular` the number of examples that name one of its passages,
    `nearest` the similarity to the nearest such example (0 if it is not among the nearest).
    """

    share: Floats
    popular: Floats
    nearest: Floats


@dataclass(frozen=True, slots=True)
class Votes:
    """The votes of solved examples for each passage.

    `share` is its share of votes, `nearest` its similarity to the nearest example that names it (0 if none of
    the nearest does), `popular` the number of examples that name it. `library` is the share of each library,
    `certainty` the similarity of the very nearest example. `groups` are the votes for groups of names, by
    their kind, `needed` the unit vector [d] of what similar examples need.
    """

    share: Floats
    nearest: Floats
    popular: Floats
    library: Floats
    certainty: float
    groups: NameGroups[GroupVotes]
    needed: Floats


@dataclass(frozen=True, slots=True)
class SolvedExamples:
    """Requests whose right passages are known, and so vote for these passages.

    `whole` and `bare` are unit vectors of the requests with and without literals, [examples, d]. `groups`
    names the question of each; `answers` marks its passages, [examples, passages], `grouped` the groups of
    their names, [examples, groups] for each kind; `needed` is their mean vector, [examples, d].
    """

    whole: Floats
    bare: Floats
    groups: NDArray[np.str_]
    answers: sparse.csr_array
    grouped: NameGroups[sparse.csr_array]
    needed: Floats

    def similarities(self, whole: Floats, bare: Floats) -> Floats:
        """Return the similarities of queries, given by both their vectors, [queries, examples]."""
        sums: Floats = normalize(whole) @ self.whole.T + normalize(bare) @ self.bare.T
        return sums / np.float32(2)

    def votes(
        self, similarity: Floats, admitted: NDArray[np.bool_], library: NDArray[np.int64], libraries: int
    ) -> Votes:
        """Return the votes of the `admitted` examples for a query with these similarities, both
        [examples]; none may be admitted."""
        near = _floats(np.where(admitted, similarity, -np.inf))
        best = float(near.max()) if admitted.any() else 0.0
        sharp, wide = (_weights(near - np.float32(best), each) for each in (SHARPNESS, LIBRARY_SHARPNESS))
        shares = np.bincount(library, weights=self.answers.T @ wide, minlength=libraries)
        rows = [row for row in best_rows(near, NEAREST) if admitted[row]]
        return Votes(
            share=_floats(self.answers.T @ sharp),
            nearest=_nearest(self.answers, near, rows),
            popular=_floats(self.answers.T @ admitted),
            library=_floats(shares / max(shares.sum(), 1e-9)),
            certainty=best,
            groups=NameGroups(
                *(
                    GroupVotes(
                        _floats(named.T @ wide), _floats(named.T @ admitted), _nearest(named, near, rows)
                    )
                    for named in self.grouped
                )
            ),
            needed=normalize(sharp[None] @ self.needed)[0],
        )

    def others(self, question_id: str) -> NDArray[np.bool_]:
        """Mark the examples of other questions; a paraphrase would give the answer away."""
        return np.asarray(self.groups != question_group(question_id))

    def without(self, passage: int) -> NDArray[np.bool_]:
        """Mark the examples that do not name the passage of this row."""
        admitted = np.ones(len(self.groups), dtype=np.bool_)
        admitted[self.answers[:, [passage]].nonzero()[0]] = False
        return admitted


def _weights(distances: Floats, sharpness: float) -> Floats:
    """Return the softmax of `distances`, at most 0, or zeros if all are infinite."""
    weights = np.exp(distances / np.float32(sharpness))
    return _floats(weights / max(float(weights.sum()), 1e-9))


def _nearest(named: sparse.csr_array, near: Floats, rows: Sequence[int]) -> Floats:
    """Return the similarity of the first of these examples, sorted by it, that names a column, or 0."""
    nearest = np.zeros(named.shape[1], dtype=np.float32)
    for row in reversed(rows):
        start, end = named.indptr[row : row + 2]
        nearest[named.indices[start:end]] = near[row]
    return nearest


def _floats(values: NDArray[np.floating[Any]]) -> Floats:
    return np.asarray(values, dtype=np.float32)


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


def solved_examples(
    whole: Floats,
    bare: Floats,
    questions: Sequence[str],
    answers: Sequence[Sequence[int]],
    passages: Floats,
    names: NameGroups[Integers],
) -> SolvedExamples:
    """Return examples whose `answers` are rows of the corpus, given its vectors and groups of names."""
    marks = answer_matrix(answers, len(passages))
    counts = np.maximum([[len(rows)] for rows in answers], 1)
    needed = normalize(_floats((marks @ passages) / counts))
    grouped = NameGroups(*(_grouped(answers, groups) for groups in names))
    return SolvedExamples(whole, bare, np.array(questions), marks, grouped, needed)


def _grouped(answers: Sequence[Sequence[int]], groups: Integers) -> sparse.csr_array:
    """Mark the groups of each example's passages, [examples, groups]."""
    named = [sorted({int(groups[row]) for row in rows}) for rows in answers]
    return answer_matrix(named, int(groups.max()) + 1)


# Examples that are looked at for each that is wanted, at first: most may be chosen.
SPARE = 8
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
        scores, depth = self.vectors @ vector, SPARE * count
        while True:
            ids = (self.ids[row] for row in best_rows(scores, depth))
            nearest = list(islice((example for example in ids if example in among), count))
            if len(nearest) == count or depth >= len(scores):
                return nearest
            depth *= SPARE

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
