"""The features of a candidate, from which a ranking is learned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from models.core.retrieval.best_rows import ranks
from models.core.retrieval.evidence import Evidence
from models.core.retrieval.lexicon import Lexicon, Matrix
from models.core.retrieval.name_groups import Integers, NameGroups
from models.core.retrieval.solved_examples import GroupVotes
from models.core.retrieval.source_usage import USAGE_KINDS

Floats = NDArray[np.float32]
FEATURES = (
    "dense", "bare", "dense_gap", "bare_gap", "bm25", "bare_bm25", "name_bm25", "bm25_share",
    "solved", "nearest", "popular", "library", "certainty",
    "name_words", "name_cover", "last_cover", "last_idf", "library_named",
    "dense_rank", "bare_rank", "bm25_rank", "solved_rank", "name_length", "text_length",
    "needed", "needed_gap", "needed_rank",
    *(f"{group}_{vote}" for group in NameGroups._fields for vote in GroupVotes._fields),
    *USAGE_KINDS,
)  # fmt: skip


def features(evidence: Evidence, rows: NDArray[np.int64], lexicon: Lexicon) -> Floats:
    """Return the features of the passages in these rows, [rows, FEATURES]."""
    votes = evidence.votes
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
        ranks(evidence.dense[rows]),
        ranks(evidence.bare[rows]),
        ranks(evidence.bm25[rows]),
        ranks(votes.share[rows]),
        name_length,
        lexicon.text_length[rows],
        evidence.needed[rows],
        evidence.needed[rows] - evidence.needed.max(),
        ranks(evidence.needed[rows]),
        *_group_votes(votes.groups, lexicon.groups, rows),
        *evidence.usage[rows].T,
    ]
    return np.column_stack(columns).astype(np.float32)


def _group_votes(
    votes: NameGroups[GroupVotes], groups: NameGroups[Integers], rows: NDArray[np.int64]
) -> Iterator[Floats]:
    for vote, group in zip(votes, groups, strict=True):
        own = group[rows]
        yield from (vote.share[own], np.log1p(vote.popular[own]), vote.nearest[own])


def libraries_named(request: str, lexicon: Lexicon) -> Floats:
    """Return 1 for each library whose name without its version is in the request, [libraries]."""
    text = request.lower()
    named = [bool(name) and name.lower().rstrip("0123456789.~") in text for name in lexicon.libraries]
    return np.array(named, dtype=np.float32)


def _length(marks: Matrix) -> Floats:
    lengths: Floats = np.maximum(np.asarray(marks.sum(axis=1)).ravel(), 1).astype(np.float32)
    return lengths
