"""Choose test rows by what stands in them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property

from models.core.errors import ExperimentError
from models.core.experiment.data_source import SplitRule
from models.core.identity import row_identity, sort_key
from models.core.near_names import nearest_column
from models.core.row_values import canonical_text, look_up
from models.core.types import Example
from storage.schema import TEST, TRAIN

KEYS = 2**64


def split_rows(name: str, rule: SplitRule, rows: Iterable[Example]) -> dict[str, Iterable[Example]]:
    """Return the rows by split, numbered anew in each. Each iteration reads `rows` again.

    `name` is the experiment's. Raise ExperimentError, when the rows are read, for a split without rows and
    for an unknown column.
    """
    choice = SplitChoice(name, rule, rows)
    return {split: SplitPart(choice, split) for split in (TRAIN, TEST)}


class SplitChoice:
    """The test rows: those whose key is small enough. Equal rows, and those of one group, have one key."""

    def __init__(self, name: str, rule: SplitRule, rows: Iterable[Example]) -> None:
        self.name = name
        self.rule = rule
        self.rows = rows

    def key(self, row: Example) -> int:
        """Return a number below 2^64 that looks random. Raise ExperimentError."""
        rule = self.rule
        if rule.by is None:
            content = row_identity(row.request, row.reference, columns=row.columns)
        else:
            try:
                content = canonical_text({"by": look_up(row.columns, rule.by)})
            except KeyError:
                known = nearest_column(rule.by, list(row.columns))
                problem = f"row {row.row + 1} has no column {rule.by!r}; {known}"
                raise ExperimentError(self.name, "split.by", problem) from None
        return sort_key(f"{rule.seed}\x1f{content}")

    @cached_property
    def bound(self) -> int:
        """The number that keys of test rows are below."""
        if isinstance(self.rule.test, float):
            return int(self.rule.test * KEYS)
        smallest = heapq.nsmallest(self.rule.test, map(self.key, self.rows))
        return smallest[-1] + 1 if smallest else 0


class SplitPart(Iterable[Example]):
    """The rows of one split."""

    def __init__(self, choice: SplitChoice, split: str) -> None:
        self._choice = choice
        self._split = split

    def __iter__(self) -> Iterator[Example]:
        choice = self._choice
        number = total = 0
        for row in choice.rows:
            total += 1
            if (choice.key(row) < choice.bound) == (self._split == TEST):
                yield replace(row, row=number, question_id=row.question_id if row.has_id else str(number))
                number += 1
        if not number:
            what = "rows" if choice.rule.by is None else f"rows and groups of equal {choice.rule.by}"
            problem = f"leaves no {self._split} row of {total}; with so few {what} give a number of rows"
            raise ExperimentError(choice.name, "split.test", f"{problem}, or another share or seed")
