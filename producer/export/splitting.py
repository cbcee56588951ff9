"""Splits that share no question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from models.retrieval.words import group_of
from producer.export.layout import keyed


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
        hashes = np.unique(np.fromiter((keyed(seed, group_of(each)) for each in question_ids), np.uint64))
        found, count = len(hashes), len(shares)
        ends: list[int] = []
        for place, share in enumerate(accumulate(shares.values()), 1):
            least, most = place, found - (count - place)
            ends.append(max(0, min(found, max(least, min(most, round(share * found))))))
        last = [hashes[end - 1] if end else 0 for end in ends]
        return cls(tuple(shares), np.array(last, dtype=np.uint64), seed)

    def split_of(self, question_id: str) -> str:
        """The name of the split of a question that was dealt out."""
        place = np.searchsorted(self.last, np.uint64(keyed(self.seed, group_of(question_id))))
        return self.names[min(int(place), len(self.names) - 1)]
