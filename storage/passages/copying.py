"""The snapshot of an index on a machine that did not build it: copied from the Milvus server they share."""

from __future__ import annotations

import fcntl
from pathlib import Path

import numpy as np

from models.encoders import find_checkpoint
from models.errors import ServiceError
from models.retrieval.settings import Passages
from storage.passages.milvus import MilvusStore
from storage.passages.naming import index_name, index_path
from storage.passages.snapshot import Snapshot, write_snapshot


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
