"""The sets that filters look at: what a run has made, and the train split of a dataset.

What the filters find in a set: counts, examples, and the rows that an export leaves out.

Filters of quality on the rows of a run, or on a dataset before there is one.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeVar

from models.core.correctness import form_of
from models.core.errors import UsageError
from models.core.experiment.options import FILTERS, Quality
from models.core.quality.filters import Filters, Mark, QualityCandidate
from models.core.types import Example
from models.core.words import question_of
from producer.results.synthetic_set import SyntheticExample, synthetic_examples
from storage.database import Database
from storage.ledger.examples import examples
from storage.ledger.queries import ResultRow
from storage.ledger.runs import Run
from storage.schema import TEST, TRAIN


@dataclass(frozen=True, slots=True)
class QualityRow:
    """A row of the set: `number` is its train row, `unit` the unit of its rationale, 0 where there is none.
    `right` says that its rationale is correct; a row of a dataset always is."""

    candidate: QualityCandidate
    number: int
    question_id: str
    unit: int = 0
    right: bool = True


class QualityRowSet(Protocol):
    """Read anew at each iteration: its rows need no memory."""

    def __iter__(self) -> Iterator[QualityRow]: ...

    def test(self) -> Iterator[Example]:
        """The test split that no row should repeat."""


@dataclass(frozen=True, slots=True)
class SyntheticSet:
    """The rows that `starmill export` writes. Right rows come first, so that of rows that are alike a wrong
    one never stands for a right one, and a right row is marked or not whether or not wrong ones are asked
    for."""

    db: Database
    run: Run
    accepted: bool = False

    def __iter__(self) -> Iterator[QualityRow]:
        for example in synthetic_examples(self.db, self.run):
            for rationale in example.right:
                yield _listed(example, rationale)
        if self.accepted:
            return
        for example in synthetic_examples(self.db, self.run):
            if example.final and not example.right:
                yield _listed(example, example.final)

    def test(self) -> Iterator[Example]:
        return examples(self.db, self.run.id, TEST)


@dataclass(frozen=True, slots=True)
class DatasetSet:
    """Train requests with their references."""

    splits: Mapping[str, Iterable[Example]]

    def __iter__(self) -> Iterator[QualityRow]:
        for row in self.splits[TRAIN]:
            question = question_of(row.question_id, row.row)
            yield QualityRow(
                QualityCandidate(row.request, row.reference, question=question), row.row, row.question_id
            )

    def test(self) -> Iterator[Example]:
        return iter(self.splits[TEST])


def _listed(example: SyntheticExample, rationale: ResultRow) -> QualityRow:
    augmented = example.augment.result.get("augmentation") if example.augment else None
    votes = rationale.result.get("votes")
    return QualityRow(
        QualityCandidate(
            request=rationale.request,
            code=rationale.result.get("answer") or "",
            rationale=rationale.result["text"],
            augmentation=augmented or "",
            question=question_of(rationale.question_id, rationale.number),
            agreement=votes["winner"] / votes["samples"] if votes else None,
            leaks=bool(rationale.result.get("hint_leak")),
        ),
        rationale.number,
        rationale.question_id,
        rationale.unit_id,
        bool(rationale.result["correct"]),
    )


EXAMPLES = 3
NONE, ALL = "none", "all"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MarkedRow:
    """A marked row to look at, and what it is like: `other` is an earlier row, or a row of the test split."""

    mark: Mark
    row: QualityRow
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
class QualityFindings:
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


def find_marks(
    rows: QualityRowSet, settings: Quality, names: Sequence[str], rule: str = "tree"
) -> QualityFindings:
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
    return QualityFindings(
        tuple(name for name in FILTERS if name in names), len(units), sum(is_right), test_rows[0],
        filters.marks(), units, is_right,
    )  # fmt: skip


def mark_examples(
    rows: QualityRowSet, found: QualityFindings, most: int = EXAMPLES
) -> dict[str, list[MarkedRow]]:
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

    def show(mark: Mark) -> MarkedRow:
        row = texts[mark.place]
        if mark.other is None:
            return MarkedRow(mark, row)
        if mark.filter == "contamination":
            test = tests[mark.other]
            return MarkedRow(mark, row, f"{test.request}\n{test.reference}", test.row)
        other = texts[mark.other]
        return MarkedRow(mark, row, other.candidate.text, other.number)

    return {name: [show(mark) for mark in several] for name, several in chosen.items()}


def find_left_out(db: Database, run: Run, names: Sequence[str], *, accepted: bool) -> LeftOut:
    """What an export of the run leaves out where it heeds these filters."""
    experiment = run.experiment
    rows = SyntheticSet(db, run, accepted)
    found = find_marks(rows, experiment.quality, names, experiment.rationale.correctness)
    units = frozenset(found.units[mark.place] for mark in found.marks)
    return LeftOut(units, Counter({name: len(found.marked(name)) for name in found.names}))


def parse_filters(given: str) -> tuple[str, ...]:
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
