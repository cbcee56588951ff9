"""Find passages for requests. Parts that only some search methods need are opened on first use."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.adapters.encoders import open_encoder
from models.adapters.encoders.encoder import passage_text
from models.adapters.encoders.transformers_encoder import Reranker
from models.core.errors import ServiceError
from models.core.experiment.options import Dataset
from models.core.experiment.passages import Passages, Search
from models.core.prompts.rendering import augmented_request
from models.core.retrieval import ranking
from models.core.retrieval.lexicon import Lexicon
from models.core.retrieval.ranking import Evidence, Predict, Ranked, gather_evidence
from models.core.retrieval.solved_examples import SolvedExamples, pack_vector
from models.core.types import Hit, Passage, Query
from models.core.words import augmentation_steps, without_literals
from storage.passages import index_path, learned_index
from storage.passages.snapshot import Snapshot

QUERIES_AT_ONCE = 64
LEARNED = ("weighted", "learned")
# A cross-encoder reads this many of the best hits.
RERANKED = 50
Floats = NDArray[np.float32]


class Retriever:
    """Searches one index. Opening it loads the encoder, which takes seconds. Raises ServiceError.

    `weighted` and `learned` have learned from the train split of `dataset`.
    """

    def __init__(
        self, config: Passages, home: Path, threads: int | None = None, dataset: Dataset | None = None
    ) -> None:
        self._config = config
        # The cheap half comes first, so that a missing index fails at once.
        path = index_path(config, home)
        Snapshot.open(path)
        self._encoder = open_encoder(config.encoder, threads)
        self._snapshot = Snapshot.open(path, self._encoder.fingerprint)
        self._rerankers: dict[str, Reranker] = {}
        self._learned_path = learned_index.learned_index_path(config, dataset, home) if dataset else None

    def search(
        self, queries: Sequence[Query], depth: int | None = None, how: Search | None = None
    ) -> list[list[Hit]]:
        """Return the `depth` best passages of each query, best first, by the search `how`.

        The defaults are the configuration's own `top_k` and search.
        """
        how, depth = how or self._config, depth or self._config.top_k
        if not how.reranker:
            return self._search(queries, depth, how)
        reranker = self._reranker(how.reranker)
        rough = self._search(queries, max(depth, RERANKED), how)
        return [_reranked(reranker, query, hits, depth) for query, hits in zip(queries, rough, strict=True)]

    def _search(self, queries: Sequence[Query], depth: int, how: Search) -> list[list[Hit]]:
        if how.method == "dense":
            return self._dense(queries, depth, how)
        rank = self._ranker(how, depth)
        hits: list[list[Hit]] = []
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            batch = queries[start : start + QUERIES_AT_ONCE]
            hits += [self._hits(rank(evidence)) for evidence in self._evidence(batch, how)]
        return hits

    def encode(self, requests: Sequence[str]) -> list[str]:
        """Return the packed vector of each request."""
        return [pack_vector(vector) for vector in self._encoder.encode(list(requests))]

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
            for hits in self._snapshot.search(vectors, depth)
        ]

    def _encode(self, queries: Sequence[Query], how: Search, *, strip: bool) -> Floats:
        requests = [without_literals(query.request) if strip else query.request for query in queries]
        if how.query == "joined":
            return self._encoder.encode([
                augmented_request(request, query.augmentation) if query.augmentation else request
                for request, query in zip(requests, queries, strict=True)
            ])  # fmt: skip
        clauses = [augmentation_steps(query.augmentation) for query in queries]
        vectors = self._encoder.encode([*requests, *(clause for each in clauses for clause in each)])
        return _summed(vectors, len(requests), [len(each) for each in clauses])

    def _evidence(self, queries: Sequence[Query], how: Search) -> list[Evidence]:
        solved = self._solved if how.method in LEARNED else None

        def admitted(index: int) -> NDArray[np.bool_]:
            return self._solved.others(queries[index].question_id)

        return gather_evidence(
            [query.request for query in queries],
            self._encode(queries, how, strip=False),
            self._encode(queries, how, strip=True),
            self._snapshot.vectors,
            self._lexicon,
            solved,
            admitted if solved else None,
        )

    def _ranker(self, how: Search, depth: int) -> Callable[[Evidence], list[Ranked]]:
        match how.method:
            case "bm25":
                return lambda evidence: ranking.rank_bm25(evidence, how.strip_literals, depth)
            case "fusion":
                return lambda evidence: ranking.rank_fusion(evidence, how.strip_literals, depth)
            case "weighted":
                return lambda evidence: ranking.rank_weighted(evidence, self._lexicon, how.weights, depth)
            case _:
                predict = self._predict
                return lambda evidence: ranking.rank_learned(evidence, self._lexicon, predict, depth)

    def _hits(self, ranked: Sequence[Ranked]) -> list[Hit]:
        return [Hit(self._snapshot.passage(each.row), each.score, each.scores) for each in ranked]

    def _reranker(self, folder: str) -> Reranker:
        if folder not in self._rerankers:
            self._rerankers[folder] = Reranker(folder)
        return self._rerankers[folder]

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
        return self._learned.solved(self._snapshot)

    @cached_property
    def _predict(self) -> Predict:
        try:
            import lightgbm
        except ImportError as error:
            raise ServiceError(
                f"passages.method: learned needs {error.name}; pip install 'starmill[retrieve]'"
            ) from None
        booster: Any = lightgbm.Booster(model_str=self._learned.ranking)
        return lambda table: np.asarray(booster.predict(table, num_threads=1))


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
