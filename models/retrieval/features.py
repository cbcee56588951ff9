"""A candidate in numbers, for the learned ranking."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.retrieval.evidence import Evidence
from models.retrieval.lexicon import Lexicon, Matrix
from models.retrieval.solved import Votes

Floats = NDArray[np.float32]
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
        _ranks(found.dense[rows]),
        _ranks(found.bare[rows]),
        _ranks(found.bm25[rows]),
        _ranks(votes.share[rows]),
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


def _ranks(scores: Floats) -> Floats:
    """0 for the best."""
    ranks = np.empty(len(scores), dtype=np.float32)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return ranks
