"""Passages and their vectors, in two stores, and the name under which both keep an index.

Milvus, Lite or a server, is the store of record: builds write to it, and a machine without a snapshot
copies the index from a server. Workers never search Milvus: the snapshot answers every search, exactly and
from mapped memory, for a corpus of any size. Only a build searches Milvus, to compare its index with
the exact answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from models.adapters.encoders.checkpoint import find_checkpoint
from models.adapters.encoders.encoder import NoEncoder
from models.core.experiment.passages import Passages
from models.core.types import Hit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class PassageStore(Protocol):
    """A store that finds the passages nearest to a vector."""

    def search(self, vectors: NDArray[np.floating[Any]], k: int) -> list[list[Hit]]:
        """Return the `k` most similar passages for each row of `vectors`, best first, ties in key order.

        `vectors` are of unit length, shape [n, dimension]. A store with fewer than `k` passages returns all.
        Raise ServiceError if the dimension is not the store's.
        """
        ...


def index_name(config: Passages) -> str:
    """Return the same name for the same passages and encoder, if one is needed; it is valid in Milvus."""
    is_installed = config.source == "installed"
    origin = {"packages": sorted(set(config.packages))} if is_installed else {"path": config.path}
    encoder = config.encoder if config.needs_vectors else None
    parts = {"source": config.source, "encoder": encoder, **origin}
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
    return f"passages_{digest[:16]}"


def index_path(config: Passages, home: Path) -> Path:
    """Return the folder of this index's snapshot below `home`, the folder of all of Starmill's state."""
    return home / "indexes" / index_name(config)


def encoder_fingerprint(config: Passages) -> str:
    """Return the fingerprint of the encoder by which the index of `config` is made."""
    return (find_checkpoint(config.encoder) if config.needs_vectors else NoEncoder).fingerprint


def corpus_hash(keys: Iterable[str]) -> str:
    """Return the SHA-256 of the passages' keys, hexadecimal; their order does not matter."""
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()
