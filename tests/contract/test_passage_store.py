"""Every store of passages gives the same hits in the same order."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.core.errors import ServiceError
from models.core.types import Passage
from storage.passages import PassageStore
from storage.passages.milvus_store import MilvusStore
from storage.passages.snapshot import Snapshot, write_snapshot

DIMENSION = 32
FINGERPRINT = "f" * 64
Vectors = NDArray[np.float32]


class SnapshotDriver:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, passages: list[Passage], vectors: Vectors) -> None:
        write_snapshot(self.folder, passages, vectors, FINGERPRINT)

    @contextmanager
    def opened(self) -> Iterator[PassageStore]:
        yield Snapshot.open(self.folder)


class MilvusDriver:
    def __init__(self, folder: Path) -> None:
        self.uri = str(folder / "milvus.db")
        self.index = "contract"

    @contextmanager
    def opened(self) -> Iterator[MilvusStore]:
        with MilvusStore.open(self.uri, self.index, FINGERPRINT, DIMENSION) as store:
            yield store

    def fill(self, passages: list[Passage], vectors: Vectors) -> None:
        with self.opened() as store:
            store.upsert(passages, vectors)
            store.seal()


class MilvusServerDriver(MilvusDriver):
    """Each folder has an index of its own in the one server."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.uri = uri
        self.index = f"contract_{uuid.uuid4().hex[:8]}"


Driver = SnapshotDriver | MilvusDriver


@pytest.fixture(params=["snapshot", "milvus-lite", "milvus-server"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    if request.param == "snapshot":
        return SnapshotDriver(tmp_path)
    if request.param == "milvus-lite":
        return MilvusDriver(tmp_path)
    return MilvusServerDriver(tmp_path, request.getfixturevalue("milvus_url"))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


def unit(vectors: NDArray[np.float64]) -> Vectors:
    scaled: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def passages(count: int) -> list[Passage]:
    return [
        Passage(f"m.f{row}", f"f{row}", f"f{row}(x)", f'Text "é" {row} 😀\n', "m") for row in range(count)
    ]


def expected(held: list[Passage], vectors: Vectors, query: Vectors, k: int) -> list[Passage]:
    """The definition, in double precision, one pair at a time."""
    scores = [float(np.sum(vector.astype(np.float64) * query)) for vector in vectors]
    order = sorted(range(len(held)), key=lambda row: (-scores[row], held[row].key))
    return [held[row] for row in order[:k]]


def test_hits_are_the_nearest_in_order(driver: Driver, stack: ExitStack) -> None:
    rng = np.random.default_rng(7)
    held, vectors = passages(500), unit(rng.standard_normal((500, DIMENSION)))
    queries = unit(rng.standard_normal((70, DIMENSION)))
    driver.fill(held, vectors)
    store = stack.enter_context(driver.opened())
    for query, hits in zip(queries, store.search(queries, 5), strict=True):
        assert [hit.passage for hit in hits] == expected(held, vectors, query, 5)
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        row = held.index(hits[0].passage)
        assert scores[0] == pytest.approx(float(vectors[row] @ query), abs=1e-6)


def test_ties_are_broken_by_key(driver: Driver, stack: ExitStack) -> None:
    rng = np.random.default_rng(8)
    distinct = unit(rng.standard_normal((20, DIMENSION)))
    held, vectors = passages(200), np.repeat(distinct, 10, axis=0)
    driver.fill(held, vectors)
    store = stack.enter_context(driver.opened())
    for query, hits in zip(distinct, store.search(distinct, 7), strict=True):
        assert [hit.passage for hit in hits] == expected(held, vectors, query, 7)
        assert len({hit.score for hit in hits}) == 1


def test_answers_do_not_depend_on_the_batch(driver: Driver, stack: ExitStack) -> None:
    rng = np.random.default_rng(9)
    held, vectors = passages(300), unit(rng.standard_normal((300, DIMENSION)))
    queries = unit(rng.standard_normal((9, DIMENSION)))
    driver.fill(held, vectors)
    store = stack.enter_context(driver.opened())
    together = store.search(queries, 4)
    assert together == [store.search(query[np.newaxis], 4)[0] for query in queries]


def test_k_beyond_the_store_gives_everything(driver: Driver, stack: ExitStack) -> None:
    held, vectors = passages(3), np.eye(3, DIMENSION, dtype=np.float32)
    driver.fill(held, vectors)
    store = stack.enter_context(driver.opened())
    [hits] = store.search(vectors[:1], 100)
    assert hits[0].passage == held[0]
    assert {hit.passage for hit in hits} == set(held)


def test_no_queries_no_answers(driver: Driver, stack: ExitStack) -> None:
    driver.fill(passages(3), np.eye(3, DIMENSION, dtype=np.float32))
    store = stack.enter_context(driver.opened())
    assert store.search(np.empty((0, DIMENSION), dtype=np.float32), 3) == []


def test_other_dimension_is_refused(driver: Driver, stack: ExitStack) -> None:
    driver.fill(passages(3), np.eye(3, DIMENSION, dtype=np.float32))
    store = stack.enter_context(driver.opened())
    with pytest.raises(ServiceError, match=r"holds vectors of 32 numbers, the query has shape \[1, 5\]"):
        store.search(np.ones((1, 5), dtype=np.float32), 3)


def test_reopened_store_answers_the_same(driver: Driver) -> None:
    rng = np.random.default_rng(10)
    vectors = unit(rng.standard_normal((50, DIMENSION)))
    driver.fill(passages(50), vectors)
    answers = []
    for _ in range(2):
        with driver.opened() as store:
            answers.append(store.search(vectors[:5], 3))
    assert answers[0] == answers[1]
    assert len(answers[0][0]) == 3


def test_milvus_store_keeps_what_it_is_given(tmp_path: Path) -> None:
    driver = MilvusDriver(tmp_path)
    held, vectors = passages(4_200), unit(np.random.default_rng(11).standard_normal((4_200, DIMENSION)))
    driver.fill(held, vectors)
    driver.fill(held[:10], vectors[:10])
    with driver.opened() as store:
        store.delete(passage.key for passage in held[:5])
        assert store.keys() == {passage.key for passage in held[5:]}
        rows = {passage.key: vector for passage, vector in store.rows()}
        assert rows[held[7].key] == vectors[7].tolist()
        [hits] = store.search(vectors[:1], 3)
        assert held[0] not in [hit.passage for hit in hits]
        store.drop()
    with driver.opened() as store:
        assert store.keys() == set()
        assert store.search(vectors[:1], 3) == [[]]


@pytest.mark.parametrize("kind", ["lite", "server"])
def test_readers_find_the_published_collection(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    uri = str(tmp_path / "milvus.db") if kind == "lite" else request.getfixturevalue("milvus_url")
    index = f"published_{uuid.uuid4().hex[:8]}"
    held, vectors = passages(4), np.eye(4, DIMENSION, dtype=np.float32)
    with pytest.raises(ServiceError, match=f"holds no index {index}; build it"):
        MilvusStore.published(uri, index, FINGERPRINT)
    for fingerprint in (FINGERPRINT, "e" * 64):
        with MilvusStore.open(uri, index, fingerprint, DIMENSION) as store:
            store.upsert(held, vectors)
            store.seal()
            store.publish(index)
            store.drop_others(index)
        with MilvusStore.published(uri, index, fingerprint) as opened:
            assert opened.dimension == DIMENSION
            assert {passage.id for passage, _ in opened.rows()} == {passage.id for passage in held}
    with pytest.raises(ServiceError, match="was built by encoder eeeeeeeeeeee, not by ffffffffffff"):
        MilvusStore.published(uri, index, FINGERPRINT)


def test_two_connections_of_one_process_share_a_lite_folder(tmp_path: Path) -> None:
    driver = MilvusDriver(tmp_path)
    with driver.opened() as first:
        with driver.opened() as second:
            second.upsert(passages(1), np.eye(1, DIMENSION, dtype=np.float32))
        second.close()
        assert len(first.keys()) == 1


def test_collection_of_another_dimension_is_refused(tmp_path: Path) -> None:
    driver = MilvusDriver(tmp_path)
    driver.fill(passages(1), np.eye(1, DIMENSION, dtype=np.float32))
    with pytest.raises(ServiceError, match="holds vectors of 32 numbers, not 8"):
        MilvusStore.open(driver.uri, "contract", FINGERPRINT, 8)
    with driver.opened() as store:
        assert len(store.keys()) == 1


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://user:secret@127.0.0.1:1", r"Milvus at http://127\.0\.0\.1:1 cannot be reached"),
        ("somewhere", r"STARMILL_MILVUS_URI=somewhere: give"),
    ],
)
def test_milvus_that_cannot_be_reached_is_named(uri: str, message: str) -> None:
    with pytest.raises(ServiceError, match=message) as error:
        MilvusStore.open(uri, "contract", FINGERPRINT, DIMENSION)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_open_snapshot_outlives_its_replacement(tmp_path: Path) -> None:
    vectors = np.eye(3, DIMENSION, dtype=np.float32)
    held = passages(4)
    old = write_snapshot(tmp_path, held[:3], vectors, FINGERPRINT)
    for _ in range(3):
        write_snapshot(tmp_path, held[1:], vectors, FINGERPRINT)
    assert {hit.passage for hit in old.search(vectors[:1], 9)[0]} == set(held[:3])
    assert {hit.passage for hit in Snapshot.open(tmp_path).search(vectors[:1], 9)[0]} == set(held[1:])
    assert len(list(tmp_path.glob("v-*"))) == 2


def test_unusable_snapshot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="no passage index in"):
        Snapshot.open(tmp_path)
    snapshot = write_snapshot(tmp_path, passages(3), np.eye(3, DIMENSION, dtype=np.float32), FINGERPRINT)
    with pytest.raises(ServiceError, match="was built by encoder ffffffffffff, not by 000000000000"):
        Snapshot.open(tmp_path, "0" * 64)
    lines = tmp_path / snapshot.meta.version / "passages.jsonl"
    lines.write_bytes(lines.read_bytes()[:-20])
    with pytest.raises(ServiceError, match="is damaged"):
        Snapshot.open(tmp_path)


@pytest.mark.parametrize("lengths", [1.0, 30.0])
def test_snapshot_misses_nothing_by_rounding(lengths: float, tmp_path: Path) -> None:
    """One query is multiplied row by row, nine in one product; near ones need the bound of the error."""
    rng = np.random.default_rng(13)
    centre = rng.standard_normal(DIMENSION)
    close = unit(centre + 0.002 * rng.standard_normal((400, DIMENSION)))
    vectors = close * rng.uniform(1, lengths, (400, 1)).astype(np.float32)
    vectors[17] = 0
    held = passages(400)
    snapshot = write_snapshot(tmp_path, held, vectors, FINGERPRINT)
    queries = close[:9] + unit(rng.standard_normal((9, DIMENSION))) * np.float32(0.01)
    for query, hits in zip(queries, snapshot.search(queries, 5), strict=True):
        assert [hit.passage for hit in hits] == expected(held, vectors, query, 5)
        assert snapshot.search(query[np.newaxis], 5) == [hits]
    assert len(snapshot.search(np.zeros((1, DIMENSION), dtype=np.float32), 5)[0]) == 5


def test_snapshot_is_read_by_row_and_by_id(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(12).standard_normal((6, DIMENSION)))
    held = [*passages(5), Passage("m.f2", "f2", "f2()", "An overload.", "m")]
    snapshot = write_snapshot(tmp_path, held, vectors, FINGERPRINT)
    for passage, vector in zip(held, vectors, strict=True):
        [row] = [row for row in snapshot.rows_of(passage.id) if snapshot.passage(row) == passage]
        assert snapshot.vectors[row].tolist() == vector.tolist()
        assert snapshot.nearest(vector[np.newaxis], 1)[0][0][0] == row
    assert len(snapshot.rows_of("m.f2")) == 2
    assert snapshot.rows_of("m.f") == ()
    assert sum(map(len, snapshot.rows.values())) == len(snapshot)
