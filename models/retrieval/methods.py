"""Ways to rank the passages of a corpus for a query: evidence in, the best rows with their scores out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.retrieval.evidence import FROM_DENSE, Evidence, top
from models.retrieval.features import FEATURES, features
from models.retrieval.lexicon import Lexicon
from models.retrieval.settings import Weights

Floats = NDArray[np.float32]
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


def weighted(evidence: Evidence, lexicon: Lexicon, weights: Weights, depth: int) -> list[Ranked]:
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
