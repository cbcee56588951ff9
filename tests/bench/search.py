"""python -m tests.bench.search: what it costs to index passages and to find them, as a table.

Vectors are random, of unit length and, like those of texts, of few dimensions with a little noise; the last
rows are of a real encoder. A floor is what numpy takes for the bare product of the same query and vectors,
measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.adapters.encoders import open_encoder
from models.core.experiment.passages import Passages
from producer.index.build_index import build_index
from storage.passages import PassageStore, index_name, index_path
from storage.passages.milvus_store import MilvusStore
from storage.passages.snapshot import Snapshot
from tests.openai_server.process import process_that_prints_its_url

DIMENSION = 384
LATENT = 16
SEARCHES = 200
# Of the slower stores.
FEWER = 60
DEPTH = 10
BATCH = 32
WORDS = ("sort", "list", "of", "dictionaries", "by", "value", "in", "pandas", "data", "frame", "and", "all")
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


@dataclass(frozen=True, slots=True)
class Line:
    """A figure beside its target; `at_least` where more is better."""

    what: str
    seen: float
    target: float
    floor: float | None = None
    at_least: bool = False

    def __str__(self) -> str:
        met = self.seen >= self.target if self.at_least else self.seen <= self.target
        sign = ">=" if self.at_least else "<="
        floor = ("-", "-") if self.floor is None else (f"{self.floor:.2f}", f"{self.seen / self.floor:.2f}")
        cells = (self.what, f"{self.seen:.2f}", f"{sign} {self.target:g}", "yes" if met else "no", *floor)
        return f"| {' | '.join(cells)} |\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.search", description=__doc__)
    parser.add_argument("--passages", type=int, default=35_000)
    parser.add_argument("--encoder", default="minilm", help="minilm, or a folder")
    parser.add_argument("--without-server", action="store_true", help="leave the Milvus server out")
    options = parser.parse_args(arguments)
    _say("| what | seen | target | met | floor | seen / floor |\n|---|---:|---:|---|---:|---:|\n")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        config = _corpus(home, options.passages)
        places = {"Lite": (str(home / "milvus.db"), 25.0)}
        if not options.without_server:
            server = process_that_prints_its_url("tests.support.milvus_server", str(home / "server"))
            places["server"] = (stack.enter_context(server), 10.0)
        for name, (uri, _) in places.items():
            _index(name, options.passages, config, uri, home / name)
        queries = RandomEncoder().encode(["?"] * SEARCHES)
        snapshot = Snapshot.open(index_path(config, home / "Lite"))
        floor = _times(lambda row: snapshot.vectors @ queries[row], SEARCHES)
        _search("snapshot", snapshot, queries, 3.0, floor)
        for name, (uri, target) in places.items():
            with MilvusStore.published(uri, index_name(config), RandomEncoder.fingerprint) as store:
                _search(name, store, queries[:FEWER], target, floor)
                _recall(name, store, snapshot, queries[:FEWER])
        _encoded(snapshot, options.encoder)


def _corpus(home: Path, count: int) -> Passages:
    path = home / "docs.jsonl"
    rows = ({"id": f"m.f{row}", "text": "word " * 40} for row in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Passages(source="jsonl", path=str(path))


def _index(name: str, count: int, config: Passages, uri: str, home: Path) -> None:
    encoder: Any = RandomEncoder()
    for what, target in (("index {:,} passages", 25.0), ("index {:,} passages again, unchanged", 5.0)):
        cpu = time.process_time()
        build_index(config, uri, home, encoder=encoder)
        _say(Line(f"{name}: {what.format(count)}, CPU s", time.process_time() - cpu, target))


def _search(name: str, store: PassageStore, queries: Floats, target: float, floor: Floats) -> None:
    taken = _times(lambda row: store.search(queries[row : row + 1], 3), len(queries))
    for clock, seen, least in zip(("ms", "CPU ms"), taken, floor, strict=True):
        middle, most = np.percentile(seen, [50, 95])
        _say(Line(f"{name}: best 3, {clock} at the median", middle, target, float(np.median(least))))
        _say(Line(f"{name}: best 3, {clock} at p95", most, target, float(np.percentile(least, 95))))


def _recall(name: str, store: PassageStore, snapshot: Snapshot, queries: Floats) -> None:
    exact = [[hit.score for hit in hits] for hits in snapshot.search(queries, DEPTH)]
    index_scores = [[hit.score for hit in hits] for hits in store.search(queries, DEPTH)]
    near = [score >= right[-1] for right, scores in zip(exact, index_scores, strict=True) for score in scores]
    _say(Line(f"{name}: recall of the nearest {DEPTH}", float(np.mean(near)), 0.99, at_least=True))


def _encoded(snapshot: Snapshot, name: str) -> None:
    """Requests of 6 to 40 words, most of them short, as those of CoNaLa."""
    encoder, draw = open_encoder(name, 1), random.Random(0)
    lengths = [min(40, 6 + int(draw.expovariate(1 / 8))) for _ in range(8 * BATCH)]
    requests = [" ".join(draw.choices(WORDS, k=length)) for length in lengths]
    encoder.encode(requests[:BATCH])
    spent = []
    for start in range(0, len(requests), BATCH):
        before = time.process_time()
        vectors = encoder.encode(requests[start : start + BATCH])
        between = time.process_time()
        snapshot.search(vectors, 3)
        spent.append((time.process_time() - before, time.process_time() - between))
    both, search = np.median(spent, axis=0)
    _say(Line(f"encoded and searched, {BATCH} at once, queries per CPU s", BATCH / both, 350, at_least=True))
    _say(Line("of these the search alone", BATCH / search, 350, at_least=True))


def _times(call: Callable[[int], object], count: int) -> Floats:
    """Wall and CPU milliseconds of each call, [2, count]."""
    taken = np.empty((2, count), dtype=np.float32)
    for row in range(count):
        wall, cpu = time.perf_counter(), time.process_time()
        call(row)
        taken[:, row] = time.perf_counter() - wall, time.process_time() - cpu
    return taken * 1000


def _say(line: Line | str) -> None:
    sys.stdout.write(str(line))
    sys.stdout.flush()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
