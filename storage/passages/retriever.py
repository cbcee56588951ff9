"""Finds passages for requests: an index, its encoder, and what else a method needs, opened when it does."""

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
from models.core.prompts.rendering import example_query
from models.core.retrieval import ranking
from models.core.retrieval.lexicon import Lexicon
from models.core.retrieval.ranking import Evidence, Predict, Ranked, gather
from models.core.retrieval.solved_examples import SolvedExamples, pack_vector
from models.core.types import Hit, Passage, Query
from models.core.words import steps, without_literals
from storage.passages import learned_index
from storage.passages.index_files import index_path
from storage.passages.learned_index import open_lexicon
from storage.passages.snapshot import Snapshot

QUERIES_AT_ONCE = 64
# How many of the best a cross-encoder reads.
RERANKED = 50
Floats = NDArray[np.float32]


class Retriever:
    """Opening loads the encoder: seconds, and its weights in memory. Raises ServiceError.

    `dataset` is whose train split `weighted` and `learned` have learned from.
    """

    def __init__(
        self, config: Passages, home: Path, threads: int | None = None, dataset: Dataset | None = None
    ) -> None:
        self._config = config
        # First the cheap half: a missing index is said at once.
        path = index_path(config, home)
        Snapshot.open(path)
        self._encoder = open_encoder(config.encoder, threads)
        self._snapshot = Snapshot.open(path, self._encoder.fingerprint)
        self._rerankers: dict[str, Reranker] = {}
        self._experience_path = learned_index.learned_index_path(config, dataset, home) if dataset else None

    def search(
        self, queries: Sequence[Query], depth: int | None = None, how: Search | None = None
    ) -> list[list[Hit]]:
        """The `depth` best passages of each query, best first, as `how` finds them; the configuration's own
        `top_k` and search where these are not given."""
        how, depth = how or self._config, depth or self._config.top_k
        if not how.reranker:
            return self._found(queries, depth, how)
        reranker = self._reranker(how.reranker)
        found = self._found(queries, max(depth, RERANKED), how)
        return [_reranked(reranker, query, hits, depth) for query, hits in zip(queries, found, strict=True)]

    def _found(self, queries: Sequence[Query], depth: int, how: Search) -> list[list[Hit]]:
        if how.method == "dense":
            return self._dense(queries, depth, how)
        rank = self._ranker(how, depth)
        found: list[list[Hit]] = []
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            part = queries[start : start + QUERIES_AT_ONCE]
            found += [self._hits(rank(evidence)) for evidence in self._evidence(part, how)]
        return found

    def encode(self, requests: Sequence[str]) -> list[str]:
        """The packed vector of each request, as it is."""
        return [pack_vector(vector) for vector in self._encoder.encode(list(requests))]

    def lookup(self, ids: Sequence[str]) -> list[Passage]:
        """The passages with these ids, in their order; one that is not in the index is left out."""
        found = [self._snapshot.rows_of(name) for name in ids]
        return [self._snapshot.passage(rows[-1]) for rows in found if rows]

    def draw(self, seed: str, count: int) -> list[Passage]:
        """Different passages at random, fewer where there are no more; the same for the same seed."""
        rows = random.Random(seed).sample(range(len(self._snapshot)), min(count, len(self._snapshot)))
        return [self._snapshot.passage(row) for row in rows]

    def _dense(self, queries: Sequence[Query], depth: int, how: Search) -> list[list[Hit]]:
        found = self._snapshot.search(self._encoded(queries, how, strip=how.strip_literals), depth)
        return [[Hit(hit.passage, hit.score, {"dense": hit.score}) for hit in hits] for hits in found]

    def _encoded(self, queries: Sequence[Query], how: Search, *, strip: bool) -> Floats:
        requests = [without_literals(query.request) if strip else query.request for query in queries]
        if how.query == "joined":
            return self._encoder.encode([
                example_query(request, query.augmentation) if query.augmentation else request
                for request, query in zip(requests, queries, strict=True)
            ])  # fmt: skip
        clauses = [steps(query.augmentation) for query in queries]
        vectors = self._encoder.encode([*requests, *(clause for each in clauses for clause in each)])
        return _summed(vectors, len(requests), [len(each) for each in clauses])

    def _evidence(self, queries: Sequence[Query], how: Search) -> list[Evidence]:
        solved = self._solved if how.method in LEARNED else None

        def admitted(place: int) -> NDArray[np.bool_]:
            return self._solved.others(queries[place].question_id)

        return gather(
            [query.request for query in queries],
            self._encoded(queries, how, strip=False),
            self._encoded(queries, how, strip=True),
            self._snapshot.vectors,
            self._lexicon,
            solved,
            admitted if solved else None,
        )

    def _ranker(self, how: Search, depth: int) -> Callable[[Evidence], list[Ranked]]:
        match how.method:
            case "bm25":
                return lambda found: ranking.bm25(found, how.strip_literals, depth)
            case "fusion":
                return lambda found: ranking.fusion(found, how.strip_literals, depth)
            case "weighted":
                return lambda found: ranking.weighted(found, self._lexicon, how.weights, depth)
            case _:
                predict = self._predict
                return lambda found: ranking.learned(found, self._lexicon, predict, depth)

    def _hits(self, ranked: Sequence[Ranked]) -> list[Hit]:
        return [Hit(self._snapshot.passage(found.row), found.score, found.scores) for found in ranked]

    def _reranker(self, folder: str) -> Reranker:
        if folder not in self._rerankers:
            self._rerankers[folder] = Reranker(folder)
        return self._rerankers[folder]

    @cached_property
    def _lexicon(self) -> Lexicon:
        return open_lexicon(self._snapshot)

    @cached_property
    def _experience(self) -> learned_index.LearnedIndex:
        if self._experience_path is None:
            raise ServiceError(
                "passages.method: weighted and learned need the dataset they have learned from"
            )
        return learned_index.load_learned_index(self._experience_path, self._encoder.fingerprint)

    @cached_property
    def _solved(self) -> SolvedExamples:
        return self._experience.solved(self._snapshot)

    @cached_property
    def _predict(self) -> Predict:
        try:
            import lightgbm
        except ImportError as error:
            raise ServiceError(
                f"passages.method: learned needs {error.name}; pip install 'starmill[retrieve]'"
            ) from None
        booster: Any = lightgbm.Booster(model_str=self._experience.ranking)
        return lambda table: np.asarray(booster.predict(table, num_threads=1))


LEARNED = ("weighted", "learned")


def _reranked(reranker: Reranker, query: Query, hits: Sequence[Hit], depth: int) -> list[Hit]:
    scores = reranker.scores(query.request, [passage_text(hit.passage) for hit in hits]).tolist()
    order = sorted(range(len(hits)), key=lambda place: (-scores[place], place))
    return [
        Hit(hits[place].passage, scores[place], {**hits[place].scores, "reranker": scores[place]})
        for place in order[:depth]
    ]


def _summed(vectors: Floats, requests: int, clauses: Sequence[int]) -> Floats:
    """Each request's vector and those of its clauses, which follow all requests, added, at its old length."""
    sums, place = vectors[:requests].copy(), requests
    for row, count in enumerate(clauses):
        length = np.linalg.norm(sums[row])
        sums[row] += vectors[place : place + count].sum(axis=0)
        sums[row] *= length / max(float(np.linalg.norm(sums[row])), 1e-12)
        place += count
    return sums
