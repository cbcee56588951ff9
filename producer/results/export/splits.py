"""In which order rows are written, and into which split each goes.

Rows in an order that a seed decides: sorted by a hash, on disk where they are many.

Splits that share no question.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import accumulate, chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UsageError
from models.core.words import group_of
from producer.results.export.selection import RowKind

EXAMPLE = "--split train=0.9,validation=0.1"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Layout:
    """`splits` maps names to shares that sum to 1; without any, rows are not split. `shuffle` is the seed of
    an order, None for that of the dataset."""

    splits: Mapping[str, float] = field(default_factory=dict)
    split_seed: int = 0
    shuffle: int | None = None

    def check(self, what: RowKind) -> None:
        """Raise UsageError where rows of this kind are no examples."""
        if what == "generations" and (self.splits or self.shuffle is not None):
            option = "--split" if self.splits else "--shuffle"
            raise UsageError(f"{option} is for rows of examples: leave it out for --what generations")


def parse_splits(text: str) -> dict[str, float]:
    """Of `train=0.9,validation=0.1`. Raises UsageError."""
    found: dict[str, Decimal] = {}
    for part in text.split(","):
        name, _, share = (word.strip() for word in part.partition("="))
        if not _NAME.fullmatch(name) or name in found:
            raise UsageError(f"--split {text}: {name!r} is no name of its own; give names as in {EXAMPLE}")
        try:
            found[name] = Decimal(share)
        except InvalidOperation:
            raise UsageError(f"--split {text}: {name} needs a share, as in {EXAMPLE}") from None
        if not (found[name].is_finite() and 0 < found[name] <= 1):
            raise UsageError(f"--split {text}: the share of {name} is not between 0 and 1, as in {EXAMPLE}")
    if (total := sum(found.values())) != 1:
        raise UsageError(f"--split {text}: shares sum to {total}, not to 1, as in {EXAMPLE}")
    return {name: float(share) for name, share in found.items()}


def stable_hash(seed: int, *identity: Any) -> int:
    """A number below 2^64 that looks random and is the same everywhere."""
    words = repr((seed, *identity)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest())


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
    return stable_hash(seed, *(row.get(name) for name in IDENTITY))


@dataclass(frozen=True, slots=True)
class Splitter:
    """All rows of a question are in one split. `last` is the greatest hash of a question of each."""

    names: tuple[str, ...]
    last: NDArray[np.uint64]
    seed: int

    @classmethod
    def of(cls, shares: Mapping[str, float], seed: int, question_ids: Iterable[str]) -> Splitter:
        """Questions are ordered by a hash of `seed` and their id, and dealt out by the shares, at least one
        to each split where there are enough. Takes about ten bytes a question."""
        hashes = np.unique(
            np.fromiter((stable_hash(seed, group_of(each)) for each in question_ids), np.uint64)
        )
        found, count = len(hashes), len(shares)
        ends: list[int] = []
        for place, share in enumerate(accumulate(shares.values()), 1):
            least, most = place, found - (count - place)
            ends.append(max(0, min(found, max(least, min(most, round(share * found))))))
        last = [hashes[end - 1] if end else 0 for end in ends]
        return cls(tuple(shares), np.array(last, dtype=np.uint64), seed)

    def split_of(self, question_id: str) -> str:
        """The name of the split of a question that was dealt out."""
        place = np.searchsorted(self.last, np.uint64(stable_hash(self.seed, group_of(question_id))))
        return self.names[min(int(place), len(self.names) - 1)]
