"""In which order rows are written, and into which split each goes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from models.errors import UsageError
from producer.export.selection import What

EXAMPLE = "--split train=0.9,validation=0.1"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Layout:
    """`splits` maps names to shares that sum to 1; without any, rows are not split. `shuffle` is the seed of
    an order, None for that of the dataset."""

    splits: Mapping[str, float] = field(default_factory=dict)
    split_seed: int = 0
    shuffle: int | None = None

    def check(self, what: What) -> None:
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


def keyed(seed: int, *identity: Any) -> int:
    """A number below 2^64 that looks random and is the same everywhere."""
    words = repr((seed, *identity)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest())
