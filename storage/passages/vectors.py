"""The vectors of a corpus while its index is built."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import ServiceError
from storage.passages.milvus import MilvusStore
from storage.passages.snapshot import Snapshot


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
