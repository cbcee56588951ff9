"""The evidence for each passage of a corpus, given one request, and the passages worth ranking by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.core.retrieval.best_rows import top_rows
from models.core.retrieval.lexicon import Lexicon, bm25_scores
from models.core.retrieval.name_groups import Integers
from models.core.retrieval.solved_examples import SolvedExamples, Votes
from models.core.words import without_literals

Floats = NDArray[np.float32]
Admitted = Callable[[int], NDArray[np.bool_]]
# Candidates from each kind of evidence; their union is ranked.
FROM_DENSE = 100
FROM_WORDS = 60
FROM_SOLVED = 60
FROM_POPULAR = 40
FROM_OWNERS = 120


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence for each passage, given one query.

    Arrays of shape [passages]: similarity to the whole request, to the `bare` request without literals, and
    to what similar requests `needed`; BM25 of both requests and of names. `votes` are those of solved
    examples. `words` and `bare_words`, [vocabulary], mark the query's words. `usage`, [passages, kinds], is
    that of the names in source code, `owner`, [passages], the number of each name's module or class.
    """

    request: str
    dense: Floats
    bare: Floats
    needed: Floats
    bm25: Floats
    bare_bm25: Floats
    name_bm25: Floats
    words: Floats
    bare_words: Floats
    votes: Votes
    usage: Floats
    owner: Integers

    def candidates(self) -> NDArray[np.int64]:
        """Return rows of the passages worth ranking, ascending."""
        sources = [
            (self.dense, FROM_DENSE), (self.bare, FROM_DENSE), (self.bm25, FROM_WORDS),
            (self.votes.share, FROM_SOLVED), (self.votes.popular, FROM_POPULAR),
            (self._owned(), FROM_OWNERS),
        ]  # fmt: skip
        return np.unique(np.concatenate([top_rows(scores, count) for scores, count in sources]))

    def _owned(self) -> Floats:
        """Score what belongs to modules and classes of which similar requests needed something, [passages].

        Most passages that no example names are among their most used ones. The factors were set on dev.
        """
        share = self.votes.groups.owner.share
        owners = np.where(share > 0, np.float32(0.05) * np.log(share + np.float32(1e-6)), np.float32(-9))
        similarity = (self.dense + self.bare) * np.float32(0.25)
        return np.asarray(owners[self.owner] + np.float32(0.03) * self.usage[:, 0] + similarity)


def gather_evidence(
    requests: Sequence[str],
    whole: Floats,
    bare: Floats,
    passages: Floats,
    lexicon: Lexicon,
    solved: SolvedExamples,
    usage: Floats,
    admitted: Admitted,
) -> list[Evidence]:
    """Return the evidence of each request, whose vectors are `whole` and `bare`, [requests, d].

    `passages` are the corpus' vectors, [passages, d], `usage` is the usage of its names, [passages, kinds].
    `admitted` marks the solved examples that may vote for the request of an index.
    """
    words, bare_words = (
        lexicon.bag(texts) for texts in (requests, [without_literals(request) for request in requests])
    )
    similarities = solved.similarities(whole, bare)
    votes = [
        solved.votes(each, admitted(index), lexicon.library, len(lexicon.libraries))
        for index, each in enumerate(similarities)
    ]
    dense, bare_dense = whole @ passages.T, bare @ passages.T
    needed = np.stack([each.needed for each in votes]) @ passages.T
    bm25, bare_bm25 = bm25_scores(words, lexicon.weights), bm25_scores(bare_words, lexicon.weights)
    name_bm25 = bm25_scores(words, lexicon.name_weights)
    marks, bare_marks = words.toarray(), bare_words.toarray()
    return [
        Evidence(
            request, dense[i], bare_dense[i], needed[i], bm25[i], bare_bm25[i], name_bm25[i], marks[i],
            bare_marks[i], votes[i], usage, lexicon.groups.owner,
        )
        for i, request in enumerate(requests)
    ]  # fmt: skip
