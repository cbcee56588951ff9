"""The dense retriever: an encoder and the snapshot that it built."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from models.encoders import open_encoder
from models.errors import ServiceError
from models.retrieval.settings import Passages
from models.types import Hit, Passage
from storage.passages.naming import index_path
from storage.passages.snapshot import Snapshot


class Retriever:
    """Opening loads the encoder: seconds, and its weights in memory. Raises ServiceError."""

    def __init__(self, config: Passages, home: Path, threads: int | None = None) -> None:
        if config.method != "dense":
            raise ServiceError(f"passages.method: {config.method} is not built in yet; take dense")
        self._top_k = config.top_k
        self._rows: dict[str, int] | None = None
        # First the cheap half: a missing index is said at once.
        path = index_path(config, home)
        Snapshot.open(path)
        self._encoder = open_encoder(config.encoder, threads)
        self._snapshot = Snapshot.open(path, self._encoder.fingerprint)

    def search(self, queries: Sequence[str], top_k: int | None = None) -> list[list[Hit]]:
        """The nearest passages of each query, best first."""
        return self._snapshot.search(self._encoder.encode(queries), top_k or self._top_k)

    def lookup(self, ids: Sequence[str]) -> list[Passage]:
        """The passages with these ids, in their order; one that is not in the index is left out."""
        if self._rows is None:
            self._rows = {self._snapshot.passage(row).id: row for row in range(len(self._snapshot))}
        return [self._snapshot.passage(self._rows[name]) for name in ids if name in self._rows]

    def draw(self, seed: str, count: int) -> list[Passage]:
        """Different passages at random, fewer where there are no more; the same for the same seed."""
        rows = random.Random(seed).sample(range(len(self._snapshot)), min(count, len(self._snapshot)))
        return [self._snapshot.passage(row) for row in rows]
