"""The identity of a row is what stands in it, not its place: a line that is inserted changes no other row's
draws and split."""

from __future__ import annotations

import hashlib
import heapq
from array import array
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from models.core.row_values import canonical_text
from models.core.words import question_group

T = TypeVar("T")
RUN_OF_GROUPS = 5
_BELOW_2_64 = 2**64 - 1
# Python draws from fewer rows within ten milliseconds.
MANY_ROWS = 20_000


def row_identity(
    request: str, reference: str, repeat: int = 0, columns: Mapping[str, Any] | None = None
) -> str:
    """Return a name of the row for seeds. `repeat` counts earlier rows of its split that are equal.

    `columns` name a row without a request.
    """
    content = (canonical_text(columns),) if columns and not request else (request, reference)
    parts = (*content, *([str(repeat)] if repeat else []))
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def question_of(question_id: str, has_id: bool | None, request: str) -> str:
    """Return what all phrasings of a question share; without ids, what equal requests share; without
    requests, the number of the row.

    `has_id` is None for rows of a ledger of before: their number may stand for an id.
    """
    if has_id is False and request:
        return f"request {row_identity(request, '')}"
    return question_group(question_id)


def sort_key(identity: str) -> int:
    """Return a number below 2^64 that looks random."""
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest())


def group_starts(rows: Iterable[tuple[T, str]], size: int) -> set[T]:
    """Return which of (row, identity) begin a group of at most `size`, all groups being runs of rows.

    Some rows begin one by their identity alone, one in RUN_OF_GROUPS * size. So a row that comes or goes
    regroups only the rows up to the next of these, and most groups are full.
    """
    starts, count = set(), size
    for row, identity in rows:
        if count == size or sort_key(identity) % (RUN_OF_GROUPS * size) == 0:
            starts.add(row)
            count = 0
        count += 1
    return starts


def draw(keyed: Iterable[tuple[int, T]], wanted: int, seed: str) -> list[T]:
    """Draw `wanted` values, fewer if there are no more. `keyed` has each value with its `sort_key`.

    The seed puts all keys into an order that looks random, in which others neither come nor go when one does:
    a new value changes only the draws that it enters.
    """
    factor, shift = _order(seed)
    ranked = ((key * factor + shift & _BELOW_2_64, index, value) for index, (key, value) in enumerate(keyed))
    return [value for _, _, value in heapq.nsmallest(wanted, ranked)]


def _order(seed: str) -> tuple[int, int]:
    numbers = hashlib.blake2b(seed.encode(), digest_size=16).digest()
    # An odd factor keeps different keys different.
    return int.from_bytes(numbers[:8]) | 1, int.from_bytes(numbers[8:])


class KeyedRows:
    """Rows with their keys, 16 bytes each, from which many seeds draw; without numpy if they are few."""

    def __init__(self, keyed: Iterable[tuple[int, int]]) -> None:
        self._keys, self._rows = array("Q"), array("q")
        for key, row in keyed:
            self._keys.append(key)
            self._rows.append(row)

    def draw(self, wanted: int, seed: str, without: Collection[int] = ()) -> list[int]:
        """Return what `draw` returns of all rows but a few, those `without`."""
        drawn = self._first(wanted + len(without), seed)
        return [row for row in drawn if row not in without][:wanted]

    def _first(self, number: int, seed: str) -> list[int]:
        if len(self._keys) < MANY_ROWS or not number:
            return draw(zip(self._keys, self._rows, strict=True), number, seed)
        import numpy as np

        factor, shift = map(np.uint64, _order(seed))
        ranks = np.frombuffer(self._keys, dtype=np.uint64) * factor + shift
        first = np.argpartition(ranks, min(number, len(ranks)) - 1)[:number]
        return [self._rows[index] for index in first[np.lexsort((first, ranks[first]))]]
