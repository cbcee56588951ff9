"""The store of record: every passage with its vector, in one Milvus collection per index and encoder."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.core.errors import ServiceError
from models.core.types import Hit, Passage
from storage.passages.milvus_connection import Connection
from storage.passages.vectors import check_dimension, ranked

KEY_LENGTH = 64
INDEXING_SECONDS = 3600
INDEXING_LOOK_SECONDS = 0.2
FINGERPRINT_SHOWN = 12
ROWS_AT_ONCE = 1_000
# Each page of an iteration makes Lite look at every row. Milvus takes 16,384 at most.
KEYS_A_PAGE = 16_384
ROWS_A_PAGE = 4_096
QUERIES_AT_ONCE = 64
# HNSW: edges per node and width of the search for them; width of a query's search, at least the number of
# candidates. A search asks for more candidates than answers, so that ties are broken here, not by the graph.
GRAPH = {"M": 32, "efConstruction": 200}
MIN_EF = 128
SPARE_CANDIDATES = 32
MAX_CANDIDATES = 16_384


class MilvusStore:
    """Use as a context manager, or `close()` it. Raises ServiceError if Milvus refuses or is gone."""

    def __init__(self, connection: Connection, collection: str, dimension: int) -> None:
        self._connection = connection
        self.collection = collection
        self.dimension = dimension
        self.label = f"{connection.label}, collection {collection}"

    @classmethod
    def open(cls, uri: str, index: str, fingerprint: str, dimension: int) -> Self:
        """Open the collection of `index` for the encoder with this fingerprint; create it if it is absent."""
        store = cls(Connection(uri), f"{index}_{fingerprint[:FINGERPRINT_SHOWN]}", dimension)
        try:
            store._prepare()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def published(cls, uri: str, index: str, fingerprint: str) -> Self:
        """Open the collection published for `index`. Raise ServiceError if there is none or another encoder
        made it."""
        connection = Connection(uri)
        try:
            collection = _built_by(connection, index, fingerprint)
            with connection.explained() as client:
                dimension = _dimension(client, collection)
                client.load_collection(collection)
        except BaseException:
            connection.close()
            raise
        return cls(connection, collection, dimension)

    def _prepare(self) -> None:
        with self._connection.explained() as client:
            if client.has_collection(self.collection):
                stored = _dimension(client, self.collection)
                if stored != self.dimension:
                    raise ServiceError(
                        f"{self.label} holds vectors of {stored} numbers, not {self.dimension}; "
                        "drop the collection and build the index again"
                    )
            else:
                self._create(client)
            # A collection that was opened before comes back unloaded.
            client.load_collection(self.collection)

    def _create(self, client: Any) -> None:
        from pymilvus import DataType

        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=KEY_LENGTH)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dimension)
        schema.add_field("passage", DataType.JSON)
        index = client.prepare_index_params()
        # Lite looks at each row in Python whatever its index: a graph would save a third of a search, and
        # takes longer to build than everything else.
        kind = (
            {"index_type": "HNSW", "params": GRAPH} if self._connection.is_server else {"index_type": "FLAT"}
        )
        index.add_index("vector", metric_type="IP", **kind)
        client.create_collection(
            self.collection, schema=schema, index_params=index, consistency_level="Strong"
        )

    def upsert(self, passages: Sequence[Passage], vectors: NDArray[np.float32]) -> None:
        """Store `passages` and their unit `vectors` [n, dimension]; replace those whose keys are known."""
        check_dimension(vectors, self.dimension, self.label)
        rows = [
            {"key": passage.key, "vector": vector.tolist(), "passage": asdict(passage)}
            for passage, vector in zip(passages, vectors, strict=True)
        ]
        with self._connection.explained() as client:
            for batch in _batches(rows, ROWS_AT_ONCE):
                client.upsert(self.collection, batch)

    def delete(self, keys: Iterable[str]) -> None:
        with self._connection.explained() as client:
            for batch in _batches(sorted(keys), ROWS_AT_ONCE):
                client.delete(self.collection, ids=batch)

    def seal(self) -> None:
        """Wait until all that was written is indexed and searches use that index.

        A server indexes after its answer and searches a rough index until it loads the collection again. Lite
        indexes when it loads a collection that was not loaded; otherwise some time later.
        """
        with self._connection.explained() as client:
            client.release_collection(self.collection)
            client.flush(self.collection)
            deadline = time.monotonic() + INDEXING_SECONDS
            while (client.describe_index(self.collection, "vector") or {}).get("pending_index_rows"):
                if time.monotonic() > deadline:
                    raise ServiceError(f"{self.label} has not indexed its passages in {INDEXING_SECONDS} s")
                time.sleep(INDEXING_LOOK_SECONDS)
            client.load_collection(self.collection)

    def publish(self, index: str) -> None:
        """Make the name of the index stand for this collection."""
        with self._connection.explained() as client:
            if self._connection.collection_of(index):
                client.alter_alias(self.collection, index)
            else:
                client.create_alias(self.collection, index)

    def count(self) -> int:
        """Return the number of passages. Lite counts a hundred times faster than it lists keys."""
        with self._connection.explained() as client:
            [row] = client.query(self.collection, filter="", output_fields=["count(*)"])
        return int(row["count(*)"])

    def keys(self) -> set[str]:
        return {row["key"] for row in self._iterate(["key"], KEYS_A_PAGE)}

    def rows(self) -> Iterator[tuple[Passage, list[float]]]:
        """Yield every passage with its vector, in no order."""
        for row in self._iterate(["key", "vector", "passage"], ROWS_A_PAGE):
            yield Passage(**row["passage"]), row["vector"]

    def _iterate(self, fields: list[str], page_size: int) -> Iterator[dict[str, Any]]:
        with self._connection.explained() as client:
            pages = client.query_iterator(self.collection, batch_size=page_size, output_fields=fields)
            try:
                while page := pages.next():
                    yield from page
            finally:
                pages.close()

    def search(self, vectors: NDArray[np.floating[Any]], k: int) -> list[list[Hit]]:
        """Answer `PassageStore.search` approximately; beyond 32 equal scores the graph picks."""
        check_dimension(vectors, self.dimension, self.label)
        candidates = min(2 * k + SPARE_CANDIDATES, MAX_CANDIDATES)
        hits = []
        for start in range(0, len(vectors), QUERIES_AT_ONCE):
            queries = vectors[start : start + QUERIES_AT_ONCE]
            with self._connection.explained() as client:
                answers = client.search(
                    self.collection,
                    data=queries.astype(np.float32).tolist(),
                    limit=candidates,
                    search_params={"metric_type": "IP", "params": {"ef": max(MIN_EF, candidates)}},
                    output_fields=["key", "vector", "passage"],
                    # "Strong" makes a server wait 200 ms for its clock. Sealed rows are visible without it.
                    consistency_level="Bounded",
                )
            hits += [_hits(query, answer, k) for query, answer in zip(queries, answers, strict=True)]
        return hits

    def drop_others(self, index: str) -> None:
        """Remove the collections of `index` that other encoders made."""
        with self._connection.explained() as client:
            for name in client.list_collections():
                if name.startswith(f"{index}_") and name != self.collection:
                    client.drop_collection(name)

    def drop(self) -> None:
        """Remove the collection; the store cannot be used afterwards."""
        with self._connection.explained() as client:
            client.drop_collection(self.collection)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _hits(query: NDArray[np.floating[Any]], answer: Iterable[dict[str, Any]], k: int) -> list[Hit]:
    entities = [hit["entity"] for hit in answer]
    if not entities:
        return []
    vectors = np.asarray([entity["vector"] for entity in entities], dtype=np.float32)
    best = ranked(query, vectors, [entity["key"] for entity in entities], k)
    return [Hit(Passage(**entities[row]["passage"]), score) for row, score in best]


def _built_by(connection: Connection, index: str, fingerprint: str) -> str:
    collection = connection.collection_of(index)
    if collection is None:
        raise ServiceError(f"{connection.label} holds no index {index}; build it with `starmill index build`")
    built, wanted = collection.rpartition("_")[2], fingerprint[:FINGERPRINT_SHOWN]
    if built != wanted:
        raise ServiceError(
            f"index {index} of {connection.label} was built by encoder {built}, not by {wanted}; "
            "build it again with `starmill index build`"
        )
    return collection


def _dimension(client: Any, collection: str) -> int:
    fields = client.describe_collection(collection)["fields"]
    return next(int(field["params"]["dim"]) for field in fields if field["name"] == "vector")


def _batches(rows: list[Any], size: int) -> Iterator[list[Any]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
