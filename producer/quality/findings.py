"""What the filters find in a set: counts, examples, and the rows that an export leaves out."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from models.errors import UsageError
from models.judges import form_of
from models.quality import FILTERS, Filters, Mark, Quality
from models.retrieval.words import question_of
from producer.quality.sets import Listed, Rows, SyntheticSet
from storage.database import Database
from storage.ledger.planning import Run

EXAMPLES = 3
NONE, ALL = "none", "all"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shown:
    """A marked row to look at, and what it is like: `other` is an earlier row, or a row of the test split."""

    mark: Mark
    row: Listed
    other: str = ""
    other_row: int | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Units whose rows an export leaves out, and how many rows each filter marked; one row may be marked by
    several."""

    units: frozenset[int] = frozenset()
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        said = ", ".join(f"{name} {self.counts[name]:,}" for name in FILTERS if name in self.counts)
        return f"left out {len(self.units):,} rows that filters mark: {said}"


@dataclass(frozen=True, slots=True)
class Findings:
    """`names` are the filters that looked. `right` of `rows` have a right rationale; `units` and `is_right`
    hold the unit and the verdict of each row by its place."""

    names: tuple[str, ...]
    rows: int
    right: int
    test_rows: int
    marks: list[Mark]
    units: array[int]
    is_right: bytearray

    def marked(self, name: str) -> list[Mark]:
        return [mark for mark in self.marks if mark.filter == name]

    def of_right(self, name: str) -> int:
        """How many right rows the filter marks."""
        return sum(self.is_right[mark.place] for mark in self.marks if mark.filter == name)

    def kinds(self, name: str) -> dict[str, int]:
        """How the filter's marks came about, the most frequent first; empty where it tells nothing apart."""
        return dict(Counter(mark.kind for mark in self.marked(name) if mark.kind).most_common())

    def test_rows_repeated(self) -> int:
        """How many test rows some row repeats, as far as each row's first overlap tells."""
        return len({mark.other for mark in self.marked("contamination")})

    def left(self, names: Iterable[str]) -> int:
        """How many right rows none of these filters marks."""
        heeded = set(names)
        out = {mark.place for mark in self.marks if mark.filter in heeded}
        return self.right - sum(self.is_right[place] for place in out)


def judge(rows: Rows, settings: Quality, names: Sequence[str], rule: str = "tree") -> Findings:
    """All rows in one pass; marks are computed anew from the rows each time, and stored nowhere. Answers are
    the same where they have the same form by the correctness `rule`."""
    test_rows = [0]

    def test() -> Iterable[tuple[str, str, str]]:
        for row in rows.test():
            test_rows[0] += 1
            yield row.request, row.reference, question_of(row.question_id, row.row)

    filters = Filters(settings, names, test(), form_of(rule))
    units, is_right = array("Q"), bytearray()
    for listed in rows:
        filters.add(listed.candidate)
        units.append(listed.unit)
        is_right.append(listed.right)
    return Findings(
        tuple(name for name in FILTERS if name in names), len(units), sum(is_right), test_rows[0],
        filters.marks(), units, is_right,
    )  # fmt: skip


def shown(rows: Rows, found: Findings, most: int = EXAMPLES) -> dict[str, list[Shown]]:
    """The first marks of each filter, and of each kind that it tells apart, with the rows themselves."""
    chosen: defaultdict[str, list[Mark]] = defaultdict(list)
    for name in found.names:
        of_kind: Counter[str] = Counter()
        for mark in found.marked(name):
            if of_kind[mark.kind] < most:
                of_kind[mark.kind] += 1
                chosen[name].append(mark)
    marks = [mark for several in chosen.values() for mark in several]
    earlier = {mark.other for mark in marks if mark.filter != "contamination"}
    texts = _at({*(mark.place for mark in marks), *earlier}, rows)
    of_test = {mark.other for mark in marks if mark.filter == "contamination"}
    tests = _at(of_test, rows.test())

    def show(mark: Mark) -> Shown:
        row = texts[mark.place]
        if mark.other is None:
            return Shown(mark, row)
        if mark.filter == "contamination":
            test = tests[mark.other]
            return Shown(mark, row, f"{test.request}\n{test.reference}", test.row)
        other = texts[mark.other]
        return Shown(mark, row, other.candidate.text, other.number)

    return {name: [show(mark) for mark in several] for name, several in chosen.items()}


def leave_out(db: Database, run: Run, names: Sequence[str], *, accepted: bool) -> LeftOut:
    """What an export of the run leaves out where it heeds these filters."""
    experiment = run.experiment
    rows = SyntheticSet(db, run, accepted)
    found = judge(rows, experiment.quality, names, experiment.rationale.correctness)
    units = frozenset(found.units[mark.place] for mark in found.marks)
    return LeftOut(units, Counter({name: len(found.marked(name)) for name in found.names}))


def named_filters(given: str) -> tuple[str, ...]:
    """Filters named on a command line: some, `all` or `none`. Raises UsageError."""
    names = [name.strip() for name in given.split(",")]
    if names in ([NONE], [ALL]):
        return tuple(FILTERS) if names == [ALL] else ()
    if unknown := [name for name in names if name not in FILTERS]:
        known = ", ".join([*FILTERS, ALL, NONE])
        raise UsageError(f"--filter {unknown[0] or given}: there is no such filter; take {known}")
    return tuple(name for name in FILTERS if name in names)


def _at(places: Iterable[int | None], items: Iterable[T]) -> dict[int, T]:
    """The items at these places; no more are read than needed."""
    wanted = {place for place in places if place is not None}
    end = max(wanted, default=-1) + 1
    return {place: item for place, item in enumerate(islice(items, end)) if place in wanted}
