"""Rows in an order that a seed decides: sorted by a hash, on disk where they are many."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from producer.export.layout import keyed

Row = dict[str, Any]
IN_MEMORY = 5000
# Each is sorted in memory: of a million rows some four thousand.
BUCKETS = 256
# What tells the rows of one kind apart, the run aside: the same rows have the same order in another run.
IDENTITY = ("question_id", "row", "pass", "variant", "sample", "stage", "split")


def shuffled(rows: Iterable[Row], seed: int, folder: Path) -> Iterator[Row]:
    """The rows, ordered by a hash of `seed` and what they are. `folder` takes as much as they are as JSON."""
    remaining = iter(rows)
    head = list(islice(remaining, IN_MEMORY + 1))
    if len(head) <= IN_MEMORY:
        yield from sorted(head, key=lambda row: _place(row, seed))
        return
    with TemporaryDirectory(prefix=".shuffle-", dir=folder) as buckets:
        yield from _sorted(_scattered(chain(head, remaining), seed, Path(buckets)))


def _scattered(rows: Iterable[Row], seed: int, folder: Path) -> list[Path]:
    """Files of lines, each of rows that come after those of the one before: a hash, and the row."""
    paths = [folder / f"{number:03}" for number in range(BUCKETS)]
    with ExitStack() as stack:
        files: list[BinaryIO] = [stack.enter_context(path.open("wb")) for path in paths]
        for row in rows:
            place = _place(row, seed)
            files[place * BUCKETS >> 64].write(b"%016x%b\n" % (place, json.dumps(row).encode()))
    return paths


def _sorted(paths: Iterable[Path]) -> Iterator[Row]:
    for path in paths:
        # Equal hashes, which no two rows should have, are ordered by what follows.
        for line in sorted(path.read_bytes().splitlines()):
            yield json.loads(line[16:])
        path.unlink()


def _place(row: Row, seed: int) -> int:
    return keyed(seed, *(row.get(name) for name in IDENTITY))
