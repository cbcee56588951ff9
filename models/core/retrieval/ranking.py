"""All that speaks for each passage of a corpus, for a batch of queries.

A candidate in numbers, for the learned ranking.

Ways to rank the passages of a corpus for a query: evidence in, the best rows with their scores out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.core.experiment.passages import EvidenceWeights
from models.core.retrieval.lexicon import Lexicon, Matrix
from models.core.retrieval.solved_examples import SolvedExamples, Votes
from models.core.words import without_literals

Floats = NDArray[np.float32]
Admitted = Callable[[int], NDArray[np.bool_]]
# Candidates that each voice brings; the union is ranked.
FROM_DENSE = 100
FROM_WORDS = 60
FROM_SOLVED = 60
FROM_POPULAR = 40


@dataclass(frozen=True, slots=True)
class Evidence:
    """For one query. Of shape [passages]: similarity of the whole and the `bare` request (its literals left
    out), BM25 of both and of names, and the `votes` of solved examples. `words` and `bare_words` mark the
    query's words, [vocabulary]."""

    request: str
    dense: Floats
    bare: Floats
    bm25: Floats
    bare_bm25: Floats
    name_bm25: Floats
    words: Floats
    bare_words: Floats
    votes: Votes | None

    def candidates(self) -> NDArray[np.int64]:
        """Rows of the passages worth ranking, ascending."""
        voices = [(self.dense, FROM_DENSE), (self.bare, FROM_DENSE), (self.bm25, FROM_WORDS)]
        if self.votes:
            voices += [(self.votes.share, FROM_SOLVED), (self.votes.popular, FROM_POPULAR)]
        return np.unique(np.concatenate([top(scores, count) for scores, count in voices]))


def top(scores: Floats, count: int) -> NDArray[np.int64]:
    """The rows of the `count` best, in no order."""
    if count >= len(scores):
        return np.arange(len(scores))
    return np.argpartition(-scores, count)[:count]


def gather(
    requests: Sequence[str],
    whole: Floats,
    bare: Floats,
    passages: Floats,
    lexicon: Lexicon,
    solved: SolvedExamples | None = None,
    admitted: Admitted | None = None,
) -> list[Evidence]:
    """The evidence of each request, whose vectors are `whole` and `bare`, [requests, d]; `passages` are the
    corpus' vectors, [passages, d]. `admitted` says which solved examples may speak for a request, by its
    place."""
    words, bare_words = (
        lexicon.bag(texts) for texts in (requests, [without_literals(request) for request in requests])
    )
    dense, bare_dense = whole @ passages.T, bare @ passages.T
    bm25, bare_bm25 = _scores(words, lexicon.weights), _scores(bare_words, lexicon.weights)
    name_bm25 = _scores(words, lexicon.name_weights)
    similarities = solved.similarities(whole, bare) if solved else None
    found = []
    for place, request in enumerate(requests):
        votes = None
        if solved and admitted and similarities is not None:
            votes = solved.votes(
                similarities[place], admitted(place), lexicon.library, len(lexicon.libraries)
            )
        found.append(
            Evidence(
                request, dense[place], bare_dense[place], bm25[place], bare_bm25[place], name_bm25[place],
                words[[place]].toarray()[0], bare_words[[place]].toarray()[0], votes,
            )
        )  # fmt: skip
    return found


def _scores(words: Matrix, weights: Matrix) -> Floats:
    scores: Floats = (words @ weights).toarray()
    return scores


FEATURES = (
    "dense", "bare", "dense_gap", "bare_gap", "bm25", "bare_bm25", "name_bm25", "bm25_share",
    "solved", "nearest", "popular", "library", "certainty",
    "name_words", "name_cover", "last_cover", "last_idf", "library_named",
    "dense_rank", "bare_rank", "bm25_rank", "solved_rank", "name_length", "text_length",
)  # fmt: skip


def features(evidence: Evidence, rows: NDArray[np.int64], lexicon: Lexicon) -> Floats:
    """[rows, FEATURES] of the passages in these rows."""
    found = evidence
    votes = found.votes or _silence(len(found.dense), len(lexicon.libraries))
    names, last = lexicon.names[rows], lexicon.last[rows]
    name_length, last_length = _length(names), _length(last)
    constant = np.ones(len(rows), dtype=np.float32)
    columns = [
        found.dense[rows],
        found.bare[rows],
        found.dense[rows] - found.dense.max(),
        found.bare[rows] - found.bare.max(),
        found.bm25[rows],
        found.bare_bm25[rows],
        found.name_bm25[rows],
        found.bm25[rows] / max(float(found.bm25.max()), 1e-6),
        votes.share[rows],
        votes.nearest[rows],
        np.log1p(votes.popular[rows]),
        votes.library[lexicon.library[rows]],
        votes.certainty * constant,
        names @ found.bare_words,
        names @ found.words / name_length,
        last @ found.bare_words / last_length,
        last @ (found.bare_words * lexicon.idf),
        libraries_named(found.request, lexicon)[lexicon.library[rows]],
        _feature_ranks(found.dense[rows]),
        _feature_ranks(found.bare[rows]),
        _feature_ranks(found.bm25[rows]),
        _feature_ranks(votes.share[rows]),
        name_length,
        lexicon.text_length[rows],
    ]
    return np.column_stack(columns).astype(np.float32)


def libraries_named(request: str, lexicon: Lexicon) -> Floats:
    """1 for each library whose name, less a version, stands in the request; shape [libraries]."""
    said = request.lower()
    named = [bool(name) and name.lower().rstrip("0123456789.~") in said for name in lexicon.libraries]
    return np.array(named, dtype=np.float32)


def _silence(passages: int, libraries: int) -> Votes:
    none = np.zeros(passages, dtype=np.float32)
    return Votes(none, none, none, np.zeros(libraries, dtype=np.float32), 0.0)


def _length(marks: Matrix) -> Floats:
    lengths: Floats = np.maximum(np.asarray(marks.sum(axis=1)).ravel(), 1).astype(np.float32)
    return lengths


def _feature_ranks(scores: Floats) -> Floats:
    """0 for the best."""
    ranks = np.empty(len(scores), dtype=np.float32)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return ranks


# Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009).
RRF = 60
PARTS = ("dense", "bare", "bm25", "solved", "library", "popular", "last_cover")
Predict = Callable[[Floats], NDArray[np.float64]]


class Ranked(NamedTuple):
    """A row of the corpus, its score, and what that was made of."""

    row: int
    score: float
    scores: Mapping[str, float]


def bm25(evidence: Evidence, strip: bool, depth: int) -> list[Ranked]:
    """By words alone."""
    scores = evidence.bare_bm25 if strip else evidence.bm25
    rows = top(scores, depth)
    return _best(rows, scores[rows], depth, {"bm25": scores[rows]})


def fusion(evidence: Evidence, strip: bool, depth: int) -> list[Ranked]:
    """By the sum of 1 / (60 + rank) in the dense order and in that of BM25."""
    dense = evidence.bare if strip else evidence.dense
    words = evidence.bare_bm25 if strip else evidence.bm25
    count = max(FROM_DENSE, depth)
    rows = np.union1d(top(dense, count), top(words, count))
    scores = sum((1 / (RRF + 1 + _ranks(each[rows])) for each in (dense, words)), np.zeros(len(rows)))
    return _best(rows, scores, depth, {"dense": dense[rows], "bm25": words[rows]})


def weighted(evidence: Evidence, lexicon: Lexicon, weights: EvidenceWeights, depth: int) -> list[Ranked]:
    """By a weighted sum of scores, each at most about 1."""
    rows = evidence.candidates()
    found = _columns(features(evidence, rows, lexicon))
    scores = (
        weights.dense * (found["dense"] + found["bare"]) / 2
        + weights.bm25 * found["bm25_share"]
        + weights.symbols * found["last_cover"]
        + weights.library * (found["library"] + found["library_named"])
        + weights.solved * found["solved"]
    )
    return _best(rows, scores, depth, {name: found[name] for name in PARTS})


def learned(evidence: Evidence, lexicon: Lexicon, predict: Predict, depth: int) -> list[Ranked]:
    """By a ranking that was learned from solved examples; `predict` maps [rows, FEATURES] to scores."""
    rows = evidence.candidates()
    table = features(evidence, rows, lexicon)
    found = _columns(table)
    return _best(rows, predict(table), depth, {name: found[name] for name in PARTS})


def _columns(table: Floats) -> dict[str, Floats]:
    return {name: table[:, place] for place, name in enumerate(FEATURES)}


def _best(
    rows: NDArray[np.int64], scores: NDArray[np.floating], depth: int, parts: Mapping[str, Floats]
) -> list[Ranked]:
    """Ties in the order of rows, which is that of the passages' keys."""
    order = np.lexsort((rows, -scores))[:depth]
    return [
        Ranked(int(rows[place]), float(scores[place]), {name: float(of[place]) for name, of in parts.items()})
        for place in order
    ]


def _ranks(scores: Floats) -> NDArray[np.float64]:
    ranks = np.empty(len(scores))
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return ranks
