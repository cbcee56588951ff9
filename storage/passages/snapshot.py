"""An index as files, which any number of processes map into memory and search exactly.

NAME/meta.json               names the published version and says what it holds; replaced atomically
NAME/VERSION/vectors.npy     float32, [count, dimension], unit length by default, in the order of the keys
NAME/VERSION/passages.jsonl  one passage a line, in the same order
NAME/VERSION/offsets.npy     int64, [count + 1], the start of each line
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.adapters.private_files import private_folder
from models.core.errors import ServiceError
from models.core.experiment.passages import Passages
from models.core.types import Hit, Passage
from storage.passages import corpus_hash, encoder_fingerprint, index_name, index_path
from storage.passages.milvus_store import MilvusStore
from storage.passages.vectors import ROUNDING, check_dimension, ranked

QUERIES_AT_ONCE = 64
# Up to this many queries are cheaper one by one than as one matrix product.
SINGLE_QUERIES = 8
# Scores of which the best one is looked at first.
BLOCK = 64
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Meta:
    """`corpus` hashes the passages' keys, `fingerprint` names the encoder, `built` is ISO 8601 in UTC."""

    version: str
    fingerprint: str
    corpus: str
    dimension: int
    count: int
    built: str


class Snapshot:
    """Exact search over a published version; it stays whole when a newer one is published."""

    def __init__(self, path: Path, meta: Meta) -> None:
        folder = path / meta.version
        self.path = path
        self.meta = meta
        self._vectors: Floats = np.load(folder / "vectors.npy", mmap_mode="r")
        self._offsets = np.load(folder / "offsets.npy")
        with (folder / "passages.jsonl").open("rb") as lines:
            self._lines = mmap.mmap(lines.fileno(), 0, access=mmap.ACCESS_READ)
        shapes = (self._vectors.shape, self._offsets.shape, len(self._lines))
        if shapes != ((meta.count, meta.dimension), (meta.count + 1,), self._offsets[-1]):
            raise ValueError("sizes do not match")

    @classmethod
    def open(cls, path: Path, fingerprint: str | None = None) -> Snapshot:
        """Open the version published in `path`.

        Raise ServiceError if there is none, if it is damaged, or if its encoder has another `fingerprint`.
        """
        try:
            meta = Meta(**json.loads((path / "meta.json").read_text(encoding="utf-8")))
            snapshot = cls(path, meta)
        except FileNotFoundError:
            raise ServiceError(f"no passage index in {path}; build it with `starmill index build`") from None
        except (OSError, ValueError, TypeError) as error:
            raise ServiceError(
                f"passage index {path} is damaged ({error}); remove it and build it again"
            ) from None
        if fingerprint is not None:
            snapshot.require_encoder(fingerprint)
        return snapshot

    def require_encoder(self, fingerprint: str) -> None:
        """Raise ServiceError unless the encoder with this fingerprint made the vectors."""
        if fingerprint != self.fingerprint:
            raise ServiceError(
                f"passage index {self.path} was built by encoder {self.fingerprint[:12]}, not by "
                f"{fingerprint[:12]}, which is to search it; build it again with `starmill index build`"
            )

    @property
    def fingerprint(self) -> str:
        return self.meta.fingerprint

    def __len__(self) -> int:
        return self.meta.count

    def passage(self, row: int) -> Passage:
        line = self._lines[self._offsets[row] : self._offsets[row + 1]]
        return Passage(**json.loads(line))

    @property
    def vectors(self) -> Floats:
        """The vectors of all passages, [count, dimension], mapped and read-only; rows as in `passage`."""
        return self._vectors

    @cached_property
    def rows(self) -> Mapping[str, Sequence[int]]:
        """The rows of each id, ascending. The first use reads every passage: 0.1 s for 35,000."""
        rows: dict[str, list[int]] = {}
        for row in range(len(self)):
            rows.setdefault(self.passage(row).id, []).append(row)
        return rows

    def rows_of(self, passage_id: str) -> Sequence[int]:
        """Return the rows of the passages with this id; none if it is unknown."""
        return self.rows.get(passage_id, ())

    @cached_property
    def _max_length(self) -> float:
        return float(np.sqrt(np.vecdot(self._vectors, self._vectors).max()))

    def search(self, vectors: NDArray[np.floating[Any]], k: int) -> list[list[Hit]]:
        """Answer `PassageStore.search` exactly."""
        return [[Hit(self.passage(row), score) for row, score in rows] for rows in self.nearest(vectors, k)]

    def nearest(self, vectors: NDArray[np.floating[Any]], k: int) -> list[list[tuple[int, float]]]:
        """Return rows and scores instead of passages; otherwise as `search`."""
        check_dimension(vectors, self.meta.dimension, f"passage index {self.path}")
        nearest = []
        for start in range(0, len(vectors), QUERIES_AT_ONCE):
            queries = vectors[start : start + QUERIES_AT_ONCE]
            for query, scores in zip(queries, self._scores(queries.astype(np.float32)), strict=True):
                nearest.append(self._best(query, scores, k))
        return nearest

    def _scores(self, queries: Floats) -> Iterable[Floats]:
        # For one query `vecdot`, a product per row, takes 1.7 ms of CPU for 35,730 x 384, the matrix product
        # 4.2 ms. (A first look at 8-bit codes takes 0.7 ms, but needs a package and a copy of the vectors.)
        if len(queries) <= SINGLE_QUERIES:
            return (np.vecdot(self._vectors, query) for query in queries)
        return iter(queries @ self._vectors.T)

    def _best(self, query: NDArray[np.floating[Any]], scores: Floats, k: int) -> list[tuple[int, float]]:
        """Score again all rows that may be among the `k` best, given rounded `scores` [count]."""
        rows = np.arange(len(scores))
        if k < len(scores):
            error = ROUNDING * float(np.linalg.norm(query)) * self._max_length
            rows = np.flatnonzero(scores >= _threshold(scores, k) - error)
        # Rows lie in the order of keys, so a row number decides a tie as its key would.
        best = ranked(query, self._vectors[rows], rows.tolist(), k)
        return [(int(rows[index]), score) for index, score in best]


def _threshold(scores: Floats, k: int) -> np.float32:
    """Return a score that at least `k` of `scores` reach, and not many more.

    That is the k-th of the best scores of blocks: `k` blocks hold one that reaches it. Partitioning all
    scores takes five times as long.
    """
    whole = len(scores) // BLOCK * BLOCK
    best = scores[:whole].reshape(-1, BLOCK).max(axis=1) if whole >= k * BLOCK else scores
    threshold: np.float32 = np.partition(best, len(best) - k)[len(best) - k]
    return threshold


def write_snapshot(path: Path, passages: Sequence[Passage], vectors: Floats, fingerprint: str) -> Snapshot:
    """Publish `passages`, at least one, and their `vectors` [n, d] in `path`; readers see the old or the new.

    The previous version stays for readers that have just looked it up; older ones are removed.
    """
    private_folder(path)
    folder = Path(tempfile.mkdtemp(prefix="v-", dir=path))
    keys = [passage.key for passage in passages]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    np.save(folder / "vectors.npy", vectors[order].astype(np.float32, copy=False))
    lines = [json.dumps(asdict(passages[row])).encode() + b"\n" for row in order]
    np.save(folder / "offsets.npy", np.cumsum([0, *map(len, lines)], dtype=np.int64))
    (folder / "passages.jsonl").write_bytes(b"".join(lines))
    built = datetime.now(UTC).isoformat(timespec="seconds")
    meta = Meta(folder.name, fingerprint, corpus_hash(keys), vectors.shape[1], len(keys), built)
    previous = _published_version(path)
    draft = folder / "meta.json"
    draft.write_text(json.dumps(asdict(meta), indent=2) + "\n", encoding="utf-8")
    os.replace(draft, path / "meta.json")
    for version in path.glob("v-*"):
        if version.name not in {previous, meta.version}:
            shutil.rmtree(version)
    return Snapshot(path, meta)


def _published_version(path: Path) -> str | None:
    try:
        return str(json.loads((path / "meta.json").read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def copy_missing_snapshot(passages: Passages, milvus_uri: str, home: Path) -> None:
    """Copy the index from a Milvus server if this machine has no snapshot of it; do nothing for Milvus Lite.

    One process copies, others wait for it. Raise ServiceError if the server has no such index.
    """
    path = index_path(passages, home)
    if "://" not in milvus_uri or _is_here(path):
        return
    private_folder(path)
    with (path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_here(path):
            return
        fingerprint = encoder_fingerprint(passages)
        with MilvusStore.published(milvus_uri, index_name(passages), fingerprint) as store:
            rows = list(store.rows())
            if not rows:
                raise ServiceError(f"{store.label} is empty; build it with `starmill index build`")
            vectors = np.array([vector for _, vector in rows], dtype=np.float32)
            write_snapshot(path, [passage for passage, _ in rows], vectors, fingerprint)


def _is_here(path: Path) -> bool:
    try:
        Snapshot.open(path)
    except ServiceError:
        return False
    return True


class CorpusVectors:
    """The vectors of a corpus while its index is built: `rows` [count, dimension], in the order of `keys`.

    Vectors that are already known are not read back from Milvus: reading all of them takes Lite longer than
    all other work of a build.
    """

    def __init__(self, keys: Iterable[str], dimension: int) -> None:
        self._row_of = {key: row for row, key in enumerate(keys)}
        self.rows = np.full((len(self._row_of), dimension), np.nan, dtype=np.float32)

    def put(self, key: str, vector: Floats) -> None:
        if key in self._row_of:
            self.rows[self._row_of[key]] = vector

    def recall(self, path: Path, fingerprint: str) -> None:
        """Copy what the snapshot in `path` holds, if there is one by the same encoder."""
        try:
            snapshot = Snapshot.open(path, fingerprint)
        except ServiceError:
            return
        for row in range(len(snapshot)):
            self.put(snapshot.passage(row).key, snapshot.vectors[row])

    def complete(self, store: MilvusStore) -> None:
        """Read missing vectors from the store. Raise ServiceError if the store lost passages."""
        if np.isnan(self.rows).any():
            for passage, vector in store.rows():
                self.put(passage.key, np.array(vector, dtype=np.float32))
        total = len(self.rows)
        held = min(store.count(), total - int(np.isnan(self.rows).any(axis=1).sum()))
        if held != total:
            raise ServiceError(
                f"{store.label} lost {total - held} of {total} passages; build the index again"
            )
