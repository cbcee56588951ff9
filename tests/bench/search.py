"""python -m tests.bench.search: what it costs to index passages and to find them, one figure a line.

Vectors are random, of unit length and, like those of texts, of few dimensions with a little noise; the last
line is of the real encoder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.encoders import open_encoder
from models.retrieval.settings import Passages
from producer.index import build_index
from storage.passages import PassageStore
from storage.passages.milvus import MilvusStore
from storage.passages.naming import index_name, index_path
from storage.passages.snapshot import Snapshot
from tests.openai_server import process_that_prints_its_url

DIMENSION = 384
LATENT = 16
SEARCHES = 200
BATCH = 32
Floats = NDArray[np.float32]


class RandomEncoder:
    """Vectors that cost nothing: what is measured is everything else."""

    dimension = DIMENSION
    fingerprint = "f" * 64
    template = "{name}"

    def __init__(self) -> None:
        self._draw = np.random.default_rng(0)
        self._basis = self._draw.standard_normal((LATENT, DIMENSION))

    def encode(self, texts: Sequence[str]) -> Floats:
        meant = self._draw.standard_normal((len(texts), LATENT)) @ self._basis
        vectors = meant + self._draw.standard_normal(meant.shape)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.search", description=__doc__)
    parser.add_argument("--passages", type=int, default=35_000)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        config = _corpus(home, options.passages)
        server = stack.enter_context(process_that_prints_its_url("tests.milvus_server", str(home / "server")))
        for name, uri in (("Lite", str(home / "milvus.db")), ("server", server)):
            _index(name, config, uri, home / name)
        queries = RandomEncoder().encode(["?"] * SEARCHES)
        snapshot = Snapshot.open(index_path(config, home / "Lite"))
        _search("snapshot", snapshot, queries)
        for name, uri in (("Lite", str(home / "milvus.db")), ("server", server)):
            with MilvusStore.published(uri, index_name(config), RandomEncoder.fingerprint) as store:
                _search(name, store, queries)
        _encoded(snapshot)


def _corpus(home: Path, count: int) -> Passages:
    path = home / "docs.jsonl"
    rows = ({"id": f"m.f{row}", "text": "word " * 40} for row in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Passages(source="jsonl", path=str(path))


def _index(name: str, config: Passages, uri: str, home: Path) -> None:
    encoder: Any = RandomEncoder()
    with _measured(f"{name}: index {config.path and _lines(config.path):,} passages, CPU s and s"):
        build_index(config, uri, home, encoder=encoder)
    with _measured(f"{name}: index them again, unchanged, CPU s and s"):
        build_index(config, uri, home, encoder=encoder)


def _lines(path: str) -> int:
    with Path(path).open() as lines:
        return sum(1 for _ in lines)


def _search(name: str, store: PassageStore, queries: Floats) -> None:
    taken = [_seconds(lambda row=row: store.search(queries[row : row + 1], 3)) for row in range(len(queries))]
    middle, most = np.percentile(np.array(taken) * 1000, [50, 95])
    _say(f"{name}: search for the best 3, ms at the median and at p95", f"{middle:.2f}, {most:.2f}")


def _encoded(snapshot: Snapshot) -> None:
    encoder = open_encoder("minilm", 1)
    requests = [f"sort list number {row} of dicts by the value of a key" for row in range(8 * BATCH)]
    encoder.encode(requests[:BATCH])
    before = time.process_time()
    for start in range(0, len(requests), BATCH):
        snapshot.search(encoder.encode(requests[start : start + BATCH]), 3)
    rate = len(requests) / (time.process_time() - before)
    _say(f"MiniLM and snapshot: queries a CPU second, {BATCH} at a time", f"{rate:.0f}")


def _seconds(call: Callable[[], object]) -> float:
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


@contextmanager
def _measured(what: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    _say(what, f"{time.process_time() - cpu:.1f}, {time.perf_counter() - wall:.1f}")


def _say(what: str, figure: str) -> None:
    sys.stdout.write(f"{what}: {figure}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
