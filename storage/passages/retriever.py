"""Find passages for requests. Parts that only some search methods need are opened on first use."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.adapters.encoders import open_encoder
from models.adapters.encoders.encoder import Encoder, passage_text
from models.core.errors import ServiceError
from models.core.experiment.experiment import Experiment
from models.core.experiment.passages import Passages, Search
from models.core.prompts.rendering import augmented_request
from models.core.retrieval import ranking
from models.core.retrieval.evidence import gather_evidence
from models.core.retrieval.learned_ranking import average_scores
from models.core.retrieval.lexicon import Lexicon, bm25_scores
from models.core.retrieval.ranking import Predict, Ranked
from models.core.retrieval.solved_examples import SolvedExamples, pack_vector
from models.core.types import Hit, Passage, Query
from models.core.words import augmentation_steps, without_literals
from storage.passages import index_path, learned_index
from storage.passages.snapshot import Snapshot

if TYPE_CHECKING:
    from models.adapters.encoders.transformers_encoder import Reranker

QUERIES_AT_ONCE = 64
# A cross-encoder reads this many of the best hits.
RERANKED = 50
# Vectors that are kept for other searches of the same requests: 12 MB of MiniLM's.
REMEMBERED = 8_192
Floats = NDArray[np.float32]


class Retriever:
    """Searches one index. The encoder is opened by the first search that compares vectors.

    `weighted` and `learned` have learned from the train split of `experiment`. Raises ServiceError if the
    index is missing.
    """

    def __init__(
        self, config: Passages, home: Path, threads: int | None = None, experiment: Experiment | None = None
    ) -> None:
        self._config = config
        self._threads = threads
        self._snapshot = Snapshot.open(index_path(config, home))
        self._vectors: dict[str, Floats] = {}
        self._rerankers: dict[str, Reranker] = {}
        self._learned_path = (
            learned_index.learned_index_path(config, experiment, home) if experiment else None
        )

    def search(
        self, queries: Sequence[Query], depth: int | None = None, how: Search | None = None
    ) -> list[list[Hit]]:
        """Return the `depth` best passages of each query, best first, by the search `how`.

        The defaults are the configuration's own `top_k` and search.
        """
        if not queries:
            return []
        how, depth = how or self._config, depth or self._config.top_k
        if not how.reranker:
            return self._search(queries, depth, how)
        reranker = self._reranker(how.reranker)
        rough = self._search(queries, max(depth, RERANKED), how)
        return [_reranked(reranker, query, hits, depth) for query, hits in zip(queries, rough, strict=True)]

    def _search(self, queries: Sequence[Query], depth: int, how: Search) -> list[list[Hit]]:
        if how.method == "dense":
            return self._dense(queries, depth, how)
        rank = {"bm25": self._bm25, "fusion": self._fusion}.get(how.method, self._by_evidence)
        hits: list[list[Hit]] = []
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            hits += map(self._hits, rank(queries[start : start + QUERIES_AT_ONCE], depth, how))
        return hits

    def encode(self, requests: Sequence[str]) -> list[str]:
        """Return the packed vector of each request."""
        return [pack_vector(vector) for vector in self._encode_once(list(requests))]

    def lookup(self, ids: Sequence[str]) -> list[Passage]:
        """Return the passages with these ids, in their order, without those that the index lacks."""
        rows_of_ids = map(self._snapshot.rows_of, ids)
        return [self._snapshot.passage(rows[-1]) for rows in rows_of_ids if rows]

    def draw(self, seed: str, count: int) -> list[Passage]:
        """Draw `count` different passages, or all if there are fewer; the same ones for the same seed."""
        rows = random.Random(seed).sample(range(len(self._snapshot)), min(count, len(self._snapshot)))
        return [self._snapshot.passage(row) for row in rows]

    def _dense(self, queries: Sequence[Query], depth: int, how: Search) -> list[list[Hit]]:
        vectors = self._encode(queries, how, strip=how.strip_literals)
        return [
            [Hit(hit.passage, hit.score, {"dense": hit.score}) for hit in hits]
            for hits in self._searchable.search(vectors, depth)
        ]

    def _encode(self, queries: Sequence[Query], how: Search, *, strip: bool) -> Floats:
        requests = [without_literals(query.request) if strip else query.request for query in queries]
        if how.query == "joined":
            return self._encode_once([
                augmented_request(request, query.augmentation) if query.augmentation else request
                for request, query in zip(requests, queries, strict=True)
            ])  # fmt: skip
        clauses = [augmentation_steps(query.augmentation) for query in queries]
        vectors = self._encode_once([*requests, *(clause for each in clauses for clause in each)])
        return _summed(vectors, len(requests), [len(each) for each in clauses])

    def _encode_once(self, texts: list[str]) -> Floats:
        """Return the vectors of the texts, and remember them: several searches ask for one request."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self._encoder.encode(new), strict=True))
        vectors = np.stack([self._vectors[text] for text in texts])
        while len(self._vectors) > REMEMBERED:
            del self._vectors[next(iter(self._vectors))]
        return vectors

    def _bm25(self, queries: Sequence[Query], depth: int, how: Search) -> list[list[Ranked]]:
        return [ranking.rank_bm25(scores, depth) for scores in self._word_scores(queries, how)]

    def _fusion(self, queries: Sequence[Query], depth: int, how: Search) -> list[list[Ranked]]:
        dense = self._encode(queries, how, strip=how.strip_literals) @ self._passage_vectors.T
        words = self._word_scores(queries, how)
        return [ranking.rank_fusion(*scores, depth) for scores in zip(dense, words, strict=True)]

    def _word_scores(self, queries: Sequence[Query], how: Search) -> Floats:
        texts = [without_literals(each.request) if how.strip_literals else each.request for each in queries]
        return bm25_scores(self._lexicon.bag(texts), self._lexicon.weights)

    def _by_evidence(self, queries: Sequence[Query], depth: int, how: Search) -> list[list[Ranked]]:
        """Rank by `weighted` or `learned`."""

        def admitted(index: int) -> NDArray[np.bool_]:
            return self._solved.others(queries[index].question_id)

        gathered = gather_evidence(
            [query.request for query in queries],
            self._encode(queries, how, strip=False),
            self._encode(queries, how, strip=True),
            self._passage_vectors,
            self._lexicon,
            self._solved,
            self._usage,
            admitted,
        )
        if how.method == "weighted":
            return [ranking.rank_weighted(each, self._lexicon, how.weights, depth) for each in gathered]
        return [ranking.rank_learned(each, self._lexicon, self._predict, depth) for each in gathered]

    def _hits(self, ranked: Sequence[Ranked]) -> list[Hit]:
        return [Hit(self._snapshot.passage(each.row), each.score, each.scores) for each in ranked]

    def _reranker(self, folder: str) -> Reranker:
        if folder not in self._rerankers:
            from models.adapters.encoders.transformers_encoder import Reranker  # with torch

            self._rerankers[folder] = Reranker(folder)
        return self._rerankers[folder]

    @cached_property
    def _encoder(self) -> Encoder:
        return open_encoder(self._config.encoder, self._threads)

    @cached_property
    def _searchable(self) -> Snapshot:
        """The snapshot, if its vectors are of the encoder."""
        self._snapshot.require_encoder(self._encoder.fingerprint)
        return self._snapshot

    @property
    def _passage_vectors(self) -> Floats:
        return self._searchable.vectors

    @cached_property
    def _lexicon(self) -> Lexicon:
        return learned_index.open_lexicon(self._snapshot)

    @cached_property
    def _learned(self) -> learned_index.LearnedIndex:
        if self._learned_path is None:
            raise ServiceError(
                "passages.method: weighted and learned need the dataset they have learned from"
            )
        return learned_index.load_learned_index(self._learned_path, self._encoder.fingerprint)

    @cached_property
    def _solved(self) -> SolvedExamples:
        return self._learned.solved(self._snapshot, self._lexicon)

    @cached_property
    def _usage(self) -> Floats:
        return self._learned.usage(self._snapshot)

    @cached_property
    def _predict(self) -> Predict:
        try:
            import lightgbm
        except ImportError as error:
            raise ServiceError(
                f"passages.method: learned needs {error.name}; pip install 'starmill[retrieve]'"
            ) from None
        boosters: list[Any] = [lightgbm.Booster(model_str=text) for text in self._learned.rankings]
        return lambda table: average_scores([
            np.asarray(booster.predict(table, num_threads=1, raw_score=True)) for booster in boosters
        ])  # fmt: skip


def _reranked(reranker: Reranker, query: Query, hits: Sequence[Hit], depth: int) -> list[Hit]:
    scores = reranker.scores(query.request, [passage_text(hit.passage) for hit in hits]).tolist()
    ordered = sorted(zip(hits, scores, strict=True), key=lambda pair: -pair[1])
    return [Hit(hit.passage, score, {**hit.scores, "reranker": score}) for hit, score in ordered[:depth]]


def _summed(vectors: Floats, requests: int, clauses: Sequence[int]) -> Floats:
    """Add to each request's vector those of its clauses, which follow all requests; keep its length."""
    sums, start = vectors[:requests].copy(), requests
    for row, count in enumerate(clauses):
        length = np.linalg.norm(sums[row])
        sums[row] += vectors[start : start + count].sum(axis=0)
        sums[row] *= length / max(float(np.linalg.norm(sums[row])), 1e-12)
        start += count
    return sums
