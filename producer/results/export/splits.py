"""The order of exported rows, by a seed, and splits that share no question."""

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
from typing import TYPE_CHECKING, Any, BinaryIO

from models.core.errors import UsageError
from producer.results.export.selection import RowKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXAMPLE = "--split train=0.9,validation=0.1"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Layout:
    """The splits and the order of rows. `splits` maps names to shares that sum to 1, and may be empty. None
    for the seed `shuffle` keeps the order of the dataset."""

    splits: Mapping[str, float] = field(default_factory=dict)
    split_seed: int = 0
    shuffle: int | None = None

    def check(self, what: RowKind, *, of_steps: bool) -> None:
        """Raise UsageError if rows of this kind have no question."""
        without = ("generations", "rows", *(("pairs",) if of_steps else ()))
        if what in without and (self.splits or self.shuffle is not None):
            option = "--split" if self.splits else "--shuffle"
            raise UsageError(f"{option} is for rows of examples: leave it out for --what {what}")


def parse_splits(text: str) -> dict[str, float]:
    """Parse `train=0.9,validation=0.1`, or raise UsageError."""
    shares: dict[str, Decimal] = {}
    for part in text.split(","):
        name, _, share = (word.strip() for word in part.partition("="))
        if not _NAME.fullmatch(name) or name in shares:
            raise UsageError(f"--split {text}: {name!r} is no name of its own; give names as in {EXAMPLE}")
        try:
            shares[name] = Decimal(share)
        except InvalidOperation:
            raise UsageError(f"--split {text}: {name} needs a share, as in {EXAMPLE}") from None
        if not (shares[name].is_finite() and 0 < shares[name] <= 1):
            raise UsageError(f"--split {text}: the share of {name} is not between 0 and 1, as in {EXAMPLE}")
    if (total := sum(shares.values())) != 1:
        raise UsageError(f"--split {text}: shares sum to {total}, not to 1, as in {EXAMPLE}")
    return {name: float(share) for name, share in shares.items()}


def stable_hash(seed: int, *identity: Any) -> int:
    """Return a number below 2^64 that looks random and is the same on every machine."""
    words = repr((seed, *identity)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest())


Row = dict[str, Any]
IN_MEMORY = 5000
# Each bucket is sorted in memory: about four thousand of a million rows.
BUCKETS = 256
# The columns that tell rows of one kind apart. Without the run, equal rows have the same order in every run.
IDENTITY = ("question_id", "row", "pass", "variant", "sample", "stage", "split")


def shuffled(rows: Iterable[Row], seed: int, folder: Path) -> Iterator[Row]:
    """Yield the rows ordered by a hash of `seed` and their identity. Many rows are sorted on disk: `folder`
    needs room for their JSON."""
    remaining = iter(rows)
    head = list(islice(remaining, IN_MEMORY + 1))
    if len(head) <= IN_MEMORY:
        yield from sorted(head, key=lambda row: _rank(row, seed))
        return
    with TemporaryDirectory(prefix=".shuffle-", dir=folder) as buckets:
        yield from _sorted(_scattered(chain(head, remaining), seed, Path(buckets)))


def _scattered(rows: Iterable[Row], seed: int, folder: Path) -> list[Path]:
    """Write lines of a hash and a row. The rows of each file come after those of the file before."""
    paths = [folder / f"{number:03}" for number in range(BUCKETS)]
    with ExitStack() as stack:
        files: list[BinaryIO] = [stack.enter_context(path.open("wb")) for path in paths]
        for row in rows:
            rank = _rank(row, seed)
            files[rank * BUCKETS >> 64].write(b"%016x%b\n" % (rank, json.dumps(row).encode()))
    return paths


def _sorted(paths: Iterable[Path]) -> Iterator[Row]:
    for path in paths:
        # Rows with equal hashes, which should not exist, are ordered by their JSON.
        for line in sorted(path.read_bytes().splitlines()):
            yield json.loads(line[16:])
        path.unlink()


def _rank(row: Row, seed: int) -> int:
    return stable_hash(seed, *(row.get(name) for name in IDENTITY))


@dataclass(frozen=True, slots=True)
class Splitter:
    """Deals questions out to splits, with all of their rows.

    `last` is the greatest hash of each split. `asked` has the hash of each row's question, by split of the
    dataset.
    """

    names: tuple[str, ...]
    last: NDArray[np.uint64]
    asked: Mapping[str, NDArray[np.uint64]]

    @classmethod
    def of(cls, shares: Mapping[str, float], seed: int, questions: Mapping[str, Iterable[str]]) -> Splitter:
        """Deal questions out by a hash of `seed` and their name. The hash alone decides: questions that come
        or go move no other, and shares are met as closely as chance has it. Each split gets at least one
        question if there are enough. Memory takes about eight bytes a row."""
        import numpy as np

        asked = {
            split: np.fromiter((stable_hash(seed, name) for name in names), np.uint64)
            for split, names in questions.items()
        }
        hashes = np.unique(np.concatenate(list(asked.values())))
        end, last = 0, []
        for number, share in enumerate(accumulate(shares.values()), 1):
            bound = np.uint64(min(int(share * 2**64), 2**64 - 1))
            most = len(hashes) - (len(shares) - number)
            end = max(end, min(max(end + 1, int(np.searchsorted(hashes, bound, side="right"))), most))
            last.append(hashes[end - 1] if end else 0)
        return cls(tuple(shares), np.array(last, dtype=np.uint64), asked)

    def split_of(self, row: int, split: str | None = None) -> str:
        """Return the name of the split of the row's question. `split`, of the dataset, may be left out if it
        is the only one."""
        hashes = self.asked[split] if split else next(iter(self.asked.values()))
        return self.names[min(int(self.last.searchsorted(hashes[row])), len(self.names) - 1)]
