"""Ways to rank the passages of a corpus for a query: evidence in, the best rows with their scores out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.core.experiment.passages import EvidenceWeights
from models.core.retrieval.best_rows import best_rows, ranks, top_rows
from models.core.retrieval.evidence import FROM_DENSE, Evidence
from models.core.retrieval.features import FEATURES, features
from models.core.retrieval.lexicon import Lexicon

Floats = NDArray[np.float32]
# Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009).
RRF = 60
PARTS = ("dense", "bare", "bm25", "solved", "library", "popular", "last_cover")
Predict = Callable[[Floats], NDArray[np.float64]]


class Ranked(NamedTuple):
    """A row of the corpus, its score, and the parts of the score by name."""

    row: int
    score: float
    scores: Mapping[str, float]


def rank_bm25(words: Floats, depth: int) -> list[Ranked]:
    """Rank by BM25 alone, given its score of each passage."""
    rows = best_rows(words, depth)
    return _best(rows, words[rows], depth, {"bm25": words[rows]})


def rank_fusion(dense: Floats, words: Floats, depth: int) -> list[Ranked]:
    """Rank by the sum of 1 / (60 + rank) in the order by similarity and in that by BM25."""
    count = max(FROM_DENSE, depth)
    rows = np.union1d(top_rows(dense, count), top_rows(words, count))
    scores = sum((1 / (RRF + 1 + ranks(each[rows])) for each in (dense, words)), np.zeros(len(rows)))
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
