"""How an index is called and where its snapshot lies: producer and worker agree here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from models.core.experiment.passages import Passages


def index_name(config: Passages) -> str:
    """Equal for configurations with the same passages and encoder; valid as a name in Milvus."""
    is_installed = config.source == "installed"
    where = {"packages": sorted(set(config.packages))} if is_installed else {"path": config.path}
    parts = {"source": config.source, "encoder": config.encoder, **where}
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
    return f"passages_{digest[:16]}"


def index_path(config: Passages, home: Path) -> Path:
    """Folder of the snapshot of this index, below the folder of all of Starmill's state."""
    return home / "indexes" / index_name(config)


def corpus_hash(keys: Iterable[str]) -> str:
    """SHA-256 of the passages' keys, hexadecimal, whatever their order."""
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()
