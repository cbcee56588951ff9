"""Builds the passage index of an experiment: documentation, vectors, Milvus, and the workers' snapshot."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.encoders import Encoder, find_checkpoint, open_encoder, passage_text
from models.errors import ServiceError
from models.retrieval.settings import Passages
from models.types import Passage
from producer.documents import attributions, read_passages
from producer.documents.attribution import write_attributions
from storage.passages.milvus import MilvusStore
from storage.passages.naming import corpus_hash, index_name, index_path
from storage.passages.ranking import SLACK
from storage.passages.snapshot import Snapshot, write_snapshot
from storage.passages.vectors import CorpusVectors

# What an interrupted build loses at most: a few seconds of encoding.
PASSAGES_AT_ONCE = 256
PROBES = 64
PROBE_DEPTH = 10
LEAST_RECALL = 0.99
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Index:
    """A built index. `path` is the folder of its snapshot, `encoded` how many passages were new."""

    name: str
    path: Path
    count: int
    fingerprint: str
    encoded: int


def build_index(
    config: Passages,
    milvus_uri: str,
    home: Path,
    progress: Progress | None = None,
    encoder: Encoder | None = None,
) -> Index:
    """Bring the index of `config` up to date and publish its snapshot below `home`.

    Only passages whose content is new are encoded, by `encoder` or the one that `config` names; an
    interrupted build goes on where it stopped. Where nothing changed, neither Milvus nor the model is
    opened. `progress` hears (passages encoded, passages to encode). Raises UsageError for the passages and
    ServiceError for the encoder, for Milvus, and where its search misses neighbours.
    """
    name, path = index_name(config), index_path(config, home)
    known = encoder or find_checkpoint(config.encoder)
    passages = {passage.key: passage for passage in read_passages(config)}
    sources = attributions(config)
    if _is_current(path, known.fingerprint, corpus_hash(passages)):
        write_attributions(path, sources)
        return Index(name, path, len(passages), known.fingerprint, encoded=0)
    with (
        _only_builder(path),
        MilvusStore.open(milvus_uri, name, known.fingerprint, known.dimension) as store,
    ):
        stored = store.keys()
        new = [passage for key, passage in passages.items() if key not in stored]
        vectors = CorpusVectors(passages, known.dimension)
        vectors.recall(path, known.fingerprint)
        if new:
            _encode(new, encoder or open_encoder(config.encoder), store, vectors, progress or _ignore)
        store.delete(stored - passages.keys())
        store.seal()
        vectors.complete(store)
        _probe(store, vectors.rows)
        store.publish(name)
        write_attributions(path, sources)
        write_snapshot(path, list(passages.values()), vectors.rows, known.fingerprint)
        store.drop_others(name)
    return Index(name, path, len(passages), known.fingerprint, len(new))


def _is_current(path: Path, fingerprint: str, corpus: str) -> bool:
    try:
        return Snapshot.open(path, fingerprint).meta.corpus == corpus
    except ServiceError:
        return False


def _encode(
    passages: list[Passage], encoder: Encoder, store: MilvusStore, vectors: CorpusVectors, progress: Progress
) -> None:
    progress(0, len(passages))
    for start in range(0, len(passages), PASSAGES_AT_ONCE):
        part = passages[start : start + PASSAGES_AT_ONCE]
        encoded = encoder.encode([passage_text(passage, encoder.template) for passage in part])
        store.upsert(part, encoded)
        for passage, vector in zip(part, encoded, strict=True):
            vectors.put(passage.key, vector)
        progress(start + len(part), len(passages))


def _ignore(_done: int, _total: int) -> None:
    """Nobody is watching."""


def _probe(store: MilvusStore, vectors: NDArray[np.float32]) -> None:
    """Compare the graph's neighbours with the exact ones, by score: equal passages are interchangeable."""
    queries = vectors[:: max(1, len(vectors) // PROBES)][:PROBES]
    depth = min(PROBE_DEPTH, len(vectors))
    exact = np.sort(queries @ vectors.T, axis=1)[:, -depth]
    found = store.search(queries, depth)
    slack = SLACK * np.maximum(1, np.abs(exact))
    near = sum(hit.score >= least for hits, least in zip(found, exact - slack, strict=True) for hit in hits)
    recall = near / (len(queries) * depth)
    if recall < LEAST_RECALL:
        raise ServiceError(
            f"{store.place} finds {recall:.1%} of the nearest passages, less than {LEAST_RECALL:.0%}; "
            "drop the collection and build the index again"
        )


@contextmanager
def _only_builder(path: Path) -> Iterator[None]:
    """Two builders of one index would remove each other's unfinished files."""
    path.mkdir(parents=True, exist_ok=True)
    with (path / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceError(f"{path} is being built by another process; wait for it to end") from None
        yield
