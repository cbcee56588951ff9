"""Rows grouped by the value of a column of the data, with the shares and means of each group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.core.errors import UsageError
from models.core.kinds.step import as_text
from models.core.metrics.proportions import share_interval
from models.core.near_names import nearest_column
from models.core.row_values import look_up
from models.core.types import JSON

MAX_VALUES = 50
OTHER, NOTHING = "other", "(none)"


@dataclass(slots=True)
class ValueTally:
    """Values of rows: true and false, whose share in percent is shown, or numbers with a mean."""

    n: int = 0
    total: float = 0.0
    is_share: bool = True
    values: Counter[float] = field(default_factory=Counter)
    # How many rows have so much in all of so many values, and the same of each named question.
    _rows: Counter[tuple[float, int]] = field(default_factory=Counter)
    _questions: dict[str, tuple[float, int]] = field(default_factory=dict)

    def add(self, values: Sequence[float], question: str = "") -> None:
        """Count the values of a row. Intervals keep rows of a `question` together, which takes memory."""
        total, n = sum(values), len(values)
        self.n += n
        self.total += total
        self.is_share = self.is_share and all(isinstance(value, bool) for value in values)
        if not self.is_share:
            self.values.update(round(value, 2) for value in values)
        elif question:
            self._add_question(question, total, n)
        else:
            self._rows[total, n] += 1

    def _add_question(self, question: str, total: float, n: int) -> None:
        earlier_total, earlier_n = self._questions.get(question, (0.0, 0))
        self._questions[question] = earlier_total + total, earlier_n + n

    def merge(self, other: ValueTally) -> None:
        self.n += other.n
        self.total += other.total
        self.is_share = self.is_share and other.is_share
        self.values.update(other.values)
        self._rows.update(other._rows)
        for question, (total, n) in other._questions.items():
            self._add_question(question, total, n)

    @property
    def mean(self) -> float | None:
        """The share in percent, or the mean."""
        return (100 if self.is_share else 1) * self.total / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of a share, with all values of a row or a question kept together."""
        if not (self.n and self.is_share):
            return None
        rows = np.array([*self._rows, *self._questions.values()])
        rows = rows.repeat([*self._rows.values(), *[1] * len(self._questions)], axis=0)
        return share_interval(rows[:, 0], rows[:, 1])


@dataclass(slots=True)
class Group:
    """The rows with one value of a column, and what was measured of them by name."""

    value: str
    rows: int = 0
    measures: dict[str, ValueTally] = field(default_factory=dict)

    def add(self, measures: Mapping[str, Sequence[float]], question: str = "") -> None:
        self.rows += 1
        for name, values in measures.items():
            self.measures.setdefault(name, ValueTally()).add(values, question)

    def merge(self, other: Group) -> None:
        self.rows += other.rows
        for name, tally in other.measures.items():
            self.measures.setdefault(name, ValueTally()).merge(tally)


@dataclass(frozen=True, slots=True)
class GroupTable:
    """The groups of `column`, those of numbers in their order; `of` says which rows were counted."""

    column: str
    of: str
    groups: tuple[Group, ...]

    @property
    def names(self) -> list[str]:
        """The names of all measures in order."""
        return list(dict.fromkeys(name for group in self.groups for name in group.measures))


class Grouping:
    """Groups rows by several columns at once, in memory that grows with the values of these columns alone."""

    def __init__(self, columns: Sequence[str], of: str = "") -> None:
        self._of = of
        self._groups: dict[str, dict[Any, Group]] = {column: {} for column in columns}
        self._known: dict[str, None] = {}
        self._seen: set[str] = set()

    def add(self, row: JSON, measures: Mapping[str, Sequence[float]], question: str = "") -> None:
        """Count a row of the data with its columns, and the question that it shares with other rows. A
        measure may have several values of a row."""
        self._known.update(dict.fromkeys(row))
        for column, groups in self._groups.items():
            try:
                value = look_up(row, column)
                self._seen.add(column)
            except KeyError:
                value = None
            key = value if isinstance(value, str | int | float) else None if value is None else as_text(value)
            # 1, 1.0 and true are equal keys of a dict.
            groups.setdefault((type(key).__name__, key), Group(_name(value))).add(measures, question)

    def missing(self) -> list[str]:
        """Return the columns that no row has."""
        return [column for column in self._groups if column not in self._seen]

    def require(self, columns: Sequence[str]) -> None:
        """Raise UsageError for the first of the missing `columns`."""
        for column in columns:
            raise UsageError(
                f"--by {column}: no row has this column; {nearest_column(column, list(self._known))}"
            )

    def tables(self) -> tuple[GroupTable, ...]:
        """Return a table for each column that rows have: at most MAX_VALUES groups, and one of all others."""
        return tuple(
            GroupTable(column, self._of, tuple(_ordered(groups)))
            for column, groups in self._groups.items()
            if column in self._seen
        )


def _name(value: Any) -> str:
    return NOTHING if value is None or value == "" else " ".join(as_text(value).split())[:80]


def _ordered(groups: Mapping[tuple[str, Any], Group]) -> Iterable[Group]:
    frequent = sorted(groups, key=lambda key: -groups[key].rows)
    for key in sorted(frequent[:MAX_VALUES], key=_order):
        yield groups[key]
    if rest := frequent[MAX_VALUES:]:
        other = Group(OTHER)
        for key in rest:
            other.merge(groups[key])
        yield other


def _order(key: tuple[str, Any]) -> tuple[int, float, str]:
    """Numbers come first, then texts, and at the end the rows without a value."""
    type_, value = key
    if type_ in ("int", "float"):
        return 0, float(value), ""
    return (2, 0.0, "") if value is None else (1, 0.0, str(value))
