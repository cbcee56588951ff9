"""The dense retriever: an encoder and the snapshot that it built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.encoders import open_encoder
from models.retrieval.settings import Passages
from models.types import Hit
from storage.passages.naming import index_path
from storage.passages.snapshot import Snapshot


class Retriever:
    """Opening loads the encoder: seconds, and its weights in memory. Raises ServiceError."""

    def __init__(self, config: Passages, home: Path, threads: int | None = None) -> None:
        self._top_k = config.top_k
        # First the cheap half: a missing index is said at once.
        path = index_path(config, home)
        Snapshot.open(path)
        self._encoder = open_encoder(config.encoder, threads)
        self._snapshot = Snapshot.open(path, self._encoder.fingerprint)

    def search(self, queries: Sequence[str], top_k: int | None = None) -> list[list[Hit]]:
        """The nearest passages of each query, best first."""
        return self._snapshot.search(self._encoder.encode(queries), top_k or self._top_k)
