"""Ways to rank the passages of a corpus for a query: evidence in, the best rows with their scores out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.core.experiment.passages import EvidenceWeights
from models.core.retrieval.lexicon import Lexicon, Matrix
from models.core.retrieval.solved_examples import SolvedExamples, Votes, no_votes
from models.core.words import without_literals

Floats = NDArray[np.float32]
Admitted = Callable[[int], NDArray[np.bool_]]
# Candidates from each kind of evidence; their union is ranked.
FROM_DENSE = 100
FROM_WORDS = 60
FROM_SOLVED = 60
FROM_POPULAR = 40


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence for each passage, given one query.

    Arrays of shape [passages]: similarity to the whole request and to the `bare` request without literals,
    BM25 of both and of names, and the `votes` of solved examples. `words` and `bare_words`, [vocabulary],
    mark the query's words.
    """

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
        """Return rows of the passages worth ranking, ascending."""
        sources = [(self.dense, FROM_DENSE), (self.bare, FROM_DENSE), (self.bm25, FROM_WORDS)]
        if self.votes:
            sources += [(self.votes.share, FROM_SOLVED), (self.votes.popular, FROM_POPULAR)]
        return np.unique(np.concatenate([top_rows(scores, count) for scores, count in sources]))


def top_rows(scores: Floats, count: int) -> NDArray[np.int64]:
    """Return the rows of the `count` best scores, in no order."""
    if count >= len(scores):
        return np.arange(len(scores))
    return np.argpartition(-scores, count)[:count]


def gather_evidence(
    requests: Sequence[str],
    whole: Floats,
    bare: Floats,
    passages: Floats,
    lexicon: Lexicon,
    solved: SolvedExamples | None = None,
    admitted: Admitted | None = None,
) -> list[Evidence]:
    """Return the evidence of each request, whose vectors are `whole` and `bare`, [requests, d].

    `passages` are the corpus' vectors, [passages, d]. `admitted` marks the solved examples that may vote for
    the request of an index.
    """
    words, bare_words = (
        lexicon.bag(texts) for texts in (requests, [without_literals(request) for request in requests])
    )
    dense, bare_dense = whole @ passages.T, bare @ passages.T
    bm25, bare_bm25 = _scores(words, lexicon.weights), _scores(bare_words, lexicon.weights)
    name_bm25 = _scores(words, lexicon.name_weights)
    similarities = solved.similarities(whole, bare) if solved else None
    evidence = []
    for i, request in enumerate(requests):
        votes = None
        if solved and admitted and similarities is not None:
            votes = solved.votes(similarities[i], admitted(i), lexicon.library, len(lexicon.libraries))
        marks, bare_marks = words[[i]].toarray()[0], bare_words[[i]].toarray()[0]
        evidence.append(
            Evidence(
                request,
                dense[i],
                bare_dense[i],
                bm25[i],
                bare_bm25[i],
                name_bm25[i],
                marks,
                bare_marks,
                votes,
            )
        )
    return evidence


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
    """Return the features of the passages in these rows, [rows, FEATURES]."""
    votes = evidence.votes or no_votes(len(evidence.dense), len(lexicon.libraries))
    names, last = lexicon.names[rows], lexicon.last[rows]
    name_length, last_length = _length(names), _length(last)
    constant = np.ones(len(rows), dtype=np.float32)
    columns = [
        evidence.dense[rows],
        evidence.bare[rows],
        evidence.dense[rows] - evidence.dense.max(),
        evidence.bare[rows] - evidence.bare.max(),
        evidence.bm25[rows],
        evidence.bare_bm25[rows],
        evidence.name_bm25[rows],
        evidence.bm25[rows] / max(float(evidence.bm25.max()), 1e-6),
        votes.share[rows],
        votes.nearest[rows],
        np.log1p(votes.popular[rows]),
        votes.library[lexicon.library[rows]],
        votes.certainty * constant,
        names @ evidence.bare_words,
        names @ evidence.words / name_length,
        last @ evidence.bare_words / last_length,
        last @ (evidence.bare_words * lexicon.idf),
        libraries_named(evidence.request, lexicon)[lexicon.library[rows]],
        _ranks(evidence.dense[rows]),
        _ranks(evidence.bare[rows]),
        _ranks(evidence.bm25[rows]),
        _ranks(votes.share[rows]),
        name_length,
        lexicon.text_length[rows],
    ]
    return np.column_stack(columns).astype(np.float32)


def libraries_named(request: str, lexicon: Lexicon) -> Floats:
    """Return 1 for each library whose name without its version is in the request, [libraries]."""
    text = request.lower()
    named = [bool(name) and name.lower().rstrip("0123456789.~") in text for name in lexicon.libraries]
    return np.array(named, dtype=np.float32)


def _length(marks: Matrix) -> Floats:
    lengths: Floats = np.maximum(np.asarray(marks.sum(axis=1)).ravel(), 1).astype(np.float32)
    return lengths


# Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009).
RRF = 60
PARTS = ("dense", "bare", "bm25", "solved", "library", "popular", "last_cover")
Predict = Callable[[Floats], NDArray[np.float64]]


class Ranked(NamedTuple):
    """A row of the corpus, its score, and the parts of the score by name."""

    row: int
    score: float
    scores: Mapping[str, float]


def rank_bm25(evidence: Evidence, strip: bool, depth: int) -> list[Ranked]:
    """Rank by words alone."""
    scores = evidence.bare_bm25 if strip else evidence.bm25
    rows = top_rows(scores, depth)
    return _best(rows, scores[rows], depth, {"bm25": scores[rows]})


def rank_fusion(evidence: Evidence, strip: bool, depth: int) -> list[Ranked]:
    """Rank by the sum of 1 / (60 + rank) in the dense order and in that of BM25."""
    dense = evidence.bare if strip else evidence.dense
    words = evidence.bare_bm25 if strip else evidence.bm25
    count = max(FROM_DENSE, depth)
    rows = np.union1d(top_rows(dense, count), top_rows(words, count))
    scores = sum((1 / (RRF + 1 + _ranks(each[rows])) for each in (dense, words)), np.zeros(len(rows)))
    return _best(rows, scores, depth, {"dense": dense[rows], "bm25": words[rows]})


def rank_weighted(evidence: Evidence, lexicon: Lexicon, weights: EvidenceWeights, depth: int) -> list[Ranked]:
    """Rank by a weighted sum of scores, each at most about 1."""
    rows = evidence.candidates()
    columns = _columns(features(evidence, rows, lexicon))
    scores = (
        weights.dense * (columns["dense"] + columns["bare"]) / 2
        + weights.bm25 * columns["bm25_share"]
        + weights.symbols * columns["last_cover"]
        + weights.library * (columns["library"] + columns["library_named"])
        + weights.solved * columns["solved"]
    )
    return _best(rows, scores, depth, {name: columns[name] for name in PARTS})


def rank_learned(evidence: Evidence, lexicon: Lexicon, predict: Predict, depth: int) -> list[Ranked]:
    """Rank by a model that learned from solved examples; `predict` maps [rows, FEATURES] to scores."""
    rows = evidence.candidates()
    table = features(evidence, rows, lexicon)
    columns = _columns(table)
    return _best(rows, predict(table), depth, {name: columns[name] for name in PARTS})


def _columns(table: Floats) -> dict[str, Floats]:
    return {name: table[:, column] for column, name in enumerate(FEATURES)}


def _best(
    rows: NDArray[np.int64], scores: NDArray[np.floating], depth: int, parts: Mapping[str, Floats]
) -> list[Ranked]:
    """Sort by score; ties stay in the order of rows, which is that of the passages' keys."""
    order = np.lexsort((rows, -scores))[:depth]
    return [
        Ranked(int(rows[i]), float(scores[i]), {name: float(part[i]) for name, part in parts.items()})
        for i in order
    ]


def _ranks(scores: Floats) -> NDArray[np.float64]:
    """Return 0 for the best score, 1 for the next."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return ranks
