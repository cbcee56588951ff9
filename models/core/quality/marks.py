"""Marks of quality filters, one by one and by the million, and ids of what they mark."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from models.core.experiment.quality_filters import FILTERS

_FILTERS = tuple(FILTERS)


@dataclass(frozen=True, slots=True)
class Mark:
    """A filter's mark on `row`, counted from 0 as added, with its reason.

    `other` is the earlier row that it is like, or the test row if the filter compares with the test split.
    `kind` separates the ways to fail.
    """

    row: int
    filter: str
    why: str
    other: int | None = None
    kind: str = ""


class MarkTable:
    """Marks in columns of numbers, about 20 bytes each; a reason that many rows share is kept once."""

    def __init__(self) -> None:
        self._rows, self._filters = array("I"), array("B")
        # -1 is no other row.
        self._others, self._reasons = array("q"), array("I")
        self._number_of: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Mark]:
        reasons = list(self._number_of)
        for row, name, other, reason in zip(
            self._rows, self._filters, self._others, self._reasons, strict=True
        ):
            why, kind = reasons[reason]
            yield Mark(row, _FILTERS[name], why, None if other < 0 else other, kind)

    def append(self, mark: Mark) -> None:
        self._rows.append(mark.row)
        self._filters.append(_FILTERS.index(mark.filter))
        self._others.append(-1 if mark.other is None else mark.other)
        reason = mark.why, mark.kind
        self._reasons.append(self._number_of.setdefault(reason, len(self._number_of)))

    def of(self, name: str) -> Iterator[Mark]:
        """Return the marks of one filter."""
        return (mark for mark in self if mark.filter == name)

    def count(self, name: str) -> int:
        """Return the number of marks of one filter."""
        return self._filters.count(_FILTERS.index(name))

    def sort(self) -> None:
        """Order the marks by row, those of one row as FILTERS are."""
        # Most commands that read this module need no numpy.
        import numpy as np

        order = np.lexsort((np.frombuffer(self._filters, np.uint8), np.frombuffer(self._rows, np.uint32)))
        self._rows, self._filters, self._others, self._reasons = (
            array(column.typecode, np.frombuffer(column, column.typecode)[order].tobytes())
            for column in (self._rows, self._filters, self._others, self._reasons)
        )


class IdSet:
    """A set of ids, in eight bytes each."""

    def __init__(self, ids: Iterable[int]) -> None:
        self._ids = array("Q", ids)
        if self._ids:
            import numpy as np

            self._ids = array("Q", np.unique(np.frombuffer(self._ids, np.uint64)).tobytes())

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, id_: object) -> bool:
        assert isinstance(id_, int)
        at = bisect_left(self._ids, id_)
        return at < len(self._ids) and self._ids[at] == id_
