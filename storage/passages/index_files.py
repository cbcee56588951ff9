"""The name of an index and the path of its snapshot, shared by producer and worker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from models.core.experiment.passages import Passages


def index_name(config: Passages) -> str:
    """Return the same name for the same passages and encoder; it is valid in Milvus."""
    is_installed = config.source == "installed"
    origin = {"packages": sorted(set(config.packages))} if is_installed else {"path": config.path}
    parts = {"source": config.source, "encoder": config.encoder, **origin}
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
    return f"passages_{digest[:16]}"


def index_path(config: Passages, home: Path) -> Path:
    """Return the folder of this index's snapshot below `home`, the folder of all of Starmill's state."""
    return home / "indexes" / index_name(config)


def corpus_hash(keys: Iterable[str]) -> str:
    """Return the SHA-256 of the passages' keys, hexadecimal; their order does not matter."""
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()
