"""An index as files that any number of processes map into memory and search exactly.

NAME/meta.json            which version is published, and what it holds; replaced atomically
NAME/VERSION/vectors.npy       float32, [count, dimension], unit length by default, in the order of the keys
NAME/VERSION/codes.npy         the same in 8 bits, scales.npy their scales: see codes.py
NAME/VERSION/passages.jsonl    one passage a line, in the same order
NAME/VERSION/offsets.npy       int64, [count + 1], where each line starts

The snapshot of an index on a machine that did not build it: copied from the Milvus server they share.

The vectors of a corpus while its index is built.
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

from models.adapters.encoders.checkpoint import find_checkpoint
from models.core.errors import ServiceError
from models.core.experiment.passages import Passages
from models.core.types import Hit, Passage
from storage.passages.index_files import corpus_hash, index_name, index_path
from storage.passages.milvus_store import MilvusStore
from storage.passages.vectors import SLACK, Int8Vectors, check_dimension, ranked

QUERIES_AT_ONCE = 64
# So many queries are compared with the codes, one by one; more pay for reading the vectors themselves.
FEW = 8
NO_ERROR = np.zeros(1, dtype=np.float32)
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
        self._vectors: NDArray[np.float32] = np.load(folder / "vectors.npy", mmap_mode="r")
        self._codes = Int8Vectors.load(folder)
        self._offsets = np.load(folder / "offsets.npy")
        with (folder / "passages.jsonl").open("rb") as lines:
            self._lines = mmap.mmap(lines.fileno(), 0, access=mmap.ACCESS_READ)
        shapes = (self._vectors.shape, self._codes.numbers.shape, self._offsets.shape, len(self._lines))
        shape = (meta.count, meta.dimension)
        if shapes != (shape, shape, (meta.count + 1,), self._offsets[-1]):
            raise ValueError("sizes do not match")

    @classmethod
    def open(cls, path: Path, fingerprint: str | None = None) -> Snapshot:
        """The version published in `path`.

        Raises ServiceError where there is none, where it is damaged, and where an encoder with another
        `fingerprint` is about to search it.
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
        if fingerprint is not None and fingerprint != meta.fingerprint:
            raise ServiceError(
                f"passage index {path} was built by encoder {meta.fingerprint[:12]}, not by "
                f"{fingerprint[:12]}, which is to search it; build it again with `starmill index build`"
            )
        return snapshot

    @property
    def fingerprint(self) -> str:
        return self.meta.fingerprint

    def __len__(self) -> int:
        return self.meta.count

    def passage(self, row: int) -> Passage:
        line = self._lines[self._offsets[row] : self._offsets[row + 1]]
        return Passage(**json.loads(line))

    @property
    def vectors(self) -> NDArray[np.float32]:
        """Of unit length, [count, dimension], mapped and read-only; a row is that of `passage`."""
        return self._vectors

    @cached_property
    def rows(self) -> Mapping[str, Sequence[int]]:
        """The rows that hold each id, ascending. The first use reads every passage: 0.1 s for 35,000."""
        rows: dict[str, list[int]] = {}
        for row in range(len(self)):
            rows.setdefault(self.passage(row).id, []).append(row)
        return rows

    def rows_of(self, passage_id: str) -> Sequence[int]:
        """Rows of the passages with this id; none where it is unknown."""
        return self.rows.get(passage_id, ())

    def search(self, vectors: NDArray[np.floating[Any]], k: int) -> list[list[Hit]]:
        """As in `PassageStore.search`."""
        return [[Hit(self.passage(row), score) for row, score in found] for found in self.nearest(vectors, k)]

    def nearest(self, vectors: NDArray[np.floating[Any]], k: int) -> list[list[tuple[int, float]]]:
        """What `search` finds, as rows and scores."""
        check_dimension(vectors, self.meta.dimension, f"passage index {self.path}")
        found = []
        for start in range(0, len(vectors), QUERIES_AT_ONCE):
            queries = vectors[start : start + QUERIES_AT_ONCE]
            if len(vectors) <= FEW:
                rough = [self._codes.scores(query) for query in queries]
            else:
                rough = [(scores, NO_ERROR) for scores in queries.astype(np.float32) @ self._vectors.T]
            found += [self._best(query, *each, k) for query, each in zip(queries, rough, strict=True)]
        return found

    def _best(
        self, query: NDArray[np.floating[Any]], scores: Floats, errors: Floats, k: int
    ) -> list[tuple[int, float]]:
        """`scores` [count] are off by `errors` at most: all that may be among the `k` best is scored anew."""
        rows = np.arange(len(scores))
        if k < len(scores):
            least = np.partition(scores - errors, len(scores) - k)[len(scores) - k]
            rows = np.flatnonzero(scores + errors >= least - SLACK * max(1, abs(least)))
        # Rows lie in the order of keys, so a row number decides a tie as its key would.
        found = ranked(query, self._vectors[rows], rows.tolist(), k)
        return [(int(rows[place]), score) for place, score in found]


def write_snapshot(
    path: Path, passages: Sequence[Passage], vectors: NDArray[np.float32], fingerprint: str
) -> Snapshot:
    """Publish `passages`, at least one, and their `vectors` [n, d] in `path`; readers see the old or the new.

    The version before stays for readers that have just looked it up; older ones are removed.
    """
    path.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="v-", dir=path))
    keys = [passage.key for passage in passages]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    ordered = vectors[order].astype(np.float32, copy=False)
    np.save(folder / "vectors.npy", ordered)
    Int8Vectors.of(ordered).save(folder)
    lines = [json.dumps(asdict(passages[row])).encode() + b"\n" for row in order]
    np.save(folder / "offsets.npy", np.cumsum([0, *map(len, lines)], dtype=np.int64))
    (folder / "passages.jsonl").write_bytes(b"".join(lines))
    built = datetime.now(UTC).isoformat(timespec="seconds")
    meta = Meta(folder.name, fingerprint, corpus_hash(keys), vectors.shape[1], len(keys), built)
    before = _published_version(path)
    draft = folder / "meta.json"
    draft.write_text(json.dumps(asdict(meta), indent=2) + "\n", encoding="utf-8")
    os.replace(draft, path / "meta.json")
    for version in path.glob("v-*"):
        if version.name not in {before, meta.version}:
            shutil.rmtree(version)
    return Snapshot(path, meta)


def _published_version(path: Path) -> str | None:
    try:
        return str(json.loads((path / "meta.json").read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def copy_missing_snapshot(passages: Passages, milvus_uri: str, home: Path) -> None:
    """Where this machine has no snapshot of the index, and Milvus is a server, write it.

    One process copies, others wait for it. Raises ServiceError where the server has no such index.
    """
    path = index_path(passages, home)
    if "://" not in milvus_uri or _is_here(path):
        return
    path.mkdir(parents=True, exist_ok=True)
    with (path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_here(path):
            return
        fingerprint = find_checkpoint(passages.encoder).fingerprint
        with MilvusStore.published(milvus_uri, index_name(passages), fingerprint) as store:
            rows = list(store.rows())
            if not rows:
                raise ServiceError(f"{store.place} is empty; build it with `starmill index build`")
            vectors = np.array([vector for _, vector in rows], dtype=np.float32)
            write_snapshot(path, [passage for passage, _ in rows], vectors, fingerprint)


def _is_here(path: Path) -> bool:
    try:
        Snapshot.open(path)
    except ServiceError:
        return False
    return True


class CorpusVectors:
    """`rows` are those of the passages with these keys, [count, dimension]. They are not all read back from
    Milvus, which would take Lite as long as everything else together."""

    def __init__(self, keys: Iterable[str], dimension: int) -> None:
        self._place = {key: row for row, key in enumerate(keys)}
        self.rows = np.full((len(self._place), dimension), np.nan, dtype=np.float32)

    def put(self, key: str, vector: NDArray[np.float32]) -> None:
        if key in self._place:
            self.rows[self._place[key]] = vector

    def recall(self, path: Path, fingerprint: str) -> None:
        """Take over what the snapshot in `path` holds by the same encoder, if there is one."""
        try:
            snapshot = Snapshot.open(path, fingerprint)
        except ServiceError:
            return
        for row in range(len(snapshot)):
            self.put(snapshot.passage(row).key, snapshot.vectors[row])

    def complete(self, store: MilvusStore) -> None:
        """Read from the store what is missing still, and see that it lost nothing."""
        if np.isnan(self.rows).any():
            for passage, vector in store.rows():
                self.put(passage.key, np.array(vector, dtype=np.float32))
        total = len(self.rows)
        held = min(store.count(), total - int(np.isnan(self.rows).any(axis=1).sum()))
        if held != total:
            raise ServiceError(
                f"{store.place} lost {total - held} of {total} passages; build the index again"
            )
