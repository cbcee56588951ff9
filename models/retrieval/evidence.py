"""All that speaks for each passage of a corpus, for a batch of queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.retrieval.lexicon import Lexicon, Matrix
from models.retrieval.solved import Solved, Votes
from models.retrieval.words import without_literals

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
    solved: Solved | None = None,
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
