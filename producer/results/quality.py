"""Quality filters on the rows of a run, or on the train split of a dataset, and the rows that they mark."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import Protocol, TypeVar

from models.core.correctness import form_of
from models.core.errors import UsageError
from models.core.experiment.quality_filters import FILTERS, Quality
from models.core.quality.filters import OF_TEST, Filters, QualityCandidate
from models.core.quality.marks import IdSet, Mark, MarkTable
from models.core.row_values import joined_text
from models.core.types import Example
from models.core.words import named_question
from producer.results.step_verdicts import is_accepted
from producer.results.synthetic_set import SyntheticExample, synthetic_examples
from storage.database import Database
from storage.ledger.examples import examples
from storage.ledger.queries import ResultRow
from storage.ledger.runs import Run
from storage.ledger.step_units import StepRow, step_units
from storage.schema import TEST, TRAIN


@dataclass(frozen=True, slots=True)
class QualityRow:
    """A row of the set. `number` is its train row, `unit` the unit of its rationale, or 0. `right` says that
    its rationale is correct, which holds for each row of a dataset."""

    candidate: QualityCandidate
    number: int
    question_id: str
    unit: int = 0
    right: bool = True


class QualityRowSet(Protocol):
    """Rows that each iteration reads anew, so that they need no memory."""

    def __iter__(self) -> Iterator[QualityRow]: ...

    def test(self) -> Iterator[Example]:
        """Return the test split, which no row should repeat."""


@dataclass(frozen=True, slots=True)
class SyntheticSet:
    """The rows that `starmill export` writes, right ones first: a wrong row never replaces a similar right
    one, and the marks of right rows do not depend on the wrong ones."""

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
    """Train requests with their references; the text of all columns of rows without a request."""

    splits: Mapping[str, Iterable[Example]]

    def __iter__(self) -> Iterator[QualityRow]:
        for row in self.splits[TRAIN]:
            question = named_question(row.question_id, row.row)
            yield QualityRow(
                QualityCandidate(_request(row), row.reference, question=question), row.row, row.question_id
            )

    def test(self) -> Iterator[Example]:
        return (replace(row, request=_request(row)) for row in self.splits[TEST])


def _request(row: Example) -> str:
    return row.request or joined_text(row.columns)


@dataclass(frozen=True, slots=True)
class StepTexts:
    """The last text that the steps of each row made; it is right if the row is accepted."""

    db: Database
    run: Run
    accepted: bool = False

    def __iter__(self) -> Iterator[QualityRow]:
        for row in step_units(self.db, self.run):
            right = is_accepted(self.run.experiment, row)
            if (text := _last_text(row)) and (right or not self.accepted):
                candidate = QualityCandidate("", "", text)
                yield QualityRow(candidate, row.number, row.question_id, right=right)

    def test(self) -> Iterator[Example]:
        return iter(())


def _last_text(row: StepRow) -> str:
    values = (unit.result.get("value") for units in reversed(row.units.values()) for unit in units)
    return next((value for value in values if isinstance(value, str)), "")


def _listed(example: SyntheticExample, rationale: ResultRow) -> QualityRow:
    augmented = example.augment.result.get("augmentation") if example.augment else None
    votes = rationale.result.get("votes")
    return QualityRow(
        QualityCandidate(
            request=rationale.request,
            code=rationale.result.get("answer") or "",
            rationale=rationale.result["text"],
            augmentation=augmented or "",
            question=named_question(rationale.question_id, rationale.number),
            agreement=votes["winner"] / votes["samples"] if votes else None,
            leaks=bool(rationale.result.get("hint_leak")),
        ),
        rationale.number,
        rationale.question_id,
        rationale.unit_id,
        bool(rationale.result["correct"]),
    )


EXAMPLES = 3
# Of a temporary file, before it is written to the disk.
KEPT_BYTES = 2**20
NONE, ALL = "none", "all"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MarkedRow:
    """A marked row, and the text of the `other` row that it resembles: an earlier one, or a test row."""

    mark: Mark
    row: QualityRow
    other: str = ""
    other_row: int | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Units whose rows an export leaves out, and the number of marks of each filter. Filters may mark the
    same row."""

    units: IdSet = field(default_factory=lambda: IdSet(()))
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        marked = ", ".join(f"{name} {self.counts[name]:,}" for name in FILTERS if name in self.counts)
        return f"left out {len(self.units):,} rows that filters mark: {marked}"


@dataclass(frozen=True, slots=True)
class QualityFindings:
    """The marks of the filters `names`. `right` of the `rows` have a right rationale; `units` and `is_right`
    hold the unit and the verdict of each row by its index."""

    names: tuple[str, ...]
    rows: int
    right: int
    test_rows: int
    marks: MarkTable
    units: array[int]
    is_right: bytearray

    def of_right(self, name: str) -> int:
        """Count the right rows that the filter marks."""
        return sum(self.is_right[mark.row] for mark in self.marks.of(name))

    def kinds(self, name: str) -> dict[str, int]:
        """Count the filter's marks by kind, the most frequent first; empty for a filter without kinds."""
        return dict(Counter(mark.kind for mark in self.marks.of(name) if mark.kind).most_common())

    def test_rows_repeated(self, name: str = "contamination") -> int:
        """Count the test rows that the filter names; only the first overlap of each row is known."""
        return len({mark.other for mark in self.marks.of(name)})

    def left(self, names: Collection[str]) -> int:
        """Count the right rows that none of these filters marks."""
        left = bytearray(self.is_right)
        for mark in self.marks:
            if mark.filter in names:
                left[mark.row] = False
        return sum(left)


def find_marks(
    rows: QualityRowSet, settings: Quality, names: Sequence[str], rule: str = "tree"
) -> QualityFindings:
    """Mark all rows in two passes; marks are stored nowhere. Answers with the same form by the correctness
    `rule` are equal."""
    test_rows = 0

    def test() -> Iterable[tuple[str, str, str]]:
        nonlocal test_rows
        for row in rows.test():
            test_rows += 1
            yield row.request, row.reference, named_question(row.question_id, row.row)

    open_file = partial(SpooledTemporaryFile, KEPT_BYTES)
    filters = Filters(settings, names, test(), form_of(rule), open_file=open_file)
    units, is_right = array("Q"), bytearray()
    for listed in rows:
        filters.add(listed.candidate)
        units.append(listed.unit)
        is_right.append(listed.right)
    return QualityFindings(
        tuple(name for name in FILTERS if name in names), len(units), sum(is_right), test_rows,
        filters.marks(listed.candidate for listed in rows), units, is_right,
    )  # fmt: skip


def mark_examples(
    rows: QualityRowSet, findings: QualityFindings, max_examples: int = EXAMPLES
) -> dict[str, list[MarkedRow]]:
    """Return the first marks of each filter and each of its kinds, with the rows themselves."""
    chosen: defaultdict[str, list[Mark]] = defaultdict(list)
    for name in findings.names:
        by_kind: Counter[str] = Counter()
        for mark in findings.marks.of(name):
            if by_kind[mark.kind] < max_examples:
                by_kind[mark.kind] += 1
                chosen[name].append(mark)
    marks = [mark for several in chosen.values() for mark in several]
    earlier = {mark.other for mark in marks if mark.filter not in OF_TEST}
    marked = _pick({*(mark.row for mark in marks), *earlier}, rows)
    repeated = {mark.other for mark in marks if mark.filter in OF_TEST}
    tests = _pick(repeated, rows.test())

    def show(mark: Mark) -> MarkedRow:
        row = marked[mark.row]
        if mark.other is None:
            return MarkedRow(mark, row)
        if mark.filter in OF_TEST:
            test = tests[mark.other]
            return MarkedRow(mark, row, f"{test.request}\n{test.reference}", test.row)
        other = marked[mark.other]
        return MarkedRow(mark, row, other.candidate.text, other.number)

    return {name: [show(mark) for mark in several] for name, several in chosen.items()}


def find_left_out(db: Database, run: Run, names: Sequence[str], *, accepted: bool) -> LeftOut:
    """Find the rows that an export with these filters leaves out."""
    experiment = run.experiment
    rows = SyntheticSet(db, run, accepted)
    findings = find_marks(rows, experiment.quality, names, experiment.rationale.correctness)
    units = IdSet(findings.units[mark.row] for mark in findings.marks)
    return LeftOut(units, Counter({name: findings.marks.count(name) for name in findings.names}))


def parse_filters(given: str) -> tuple[str, ...]:
    """Parse filters of a command line: names, `all` or `none`. Raise UsageError for others."""
    names = [name.strip() for name in given.split(",")]
    if names in ([NONE], [ALL]):
        return tuple(FILTERS) if names == [ALL] else ()
    if unknown := [name for name in names if name not in FILTERS]:
        known = ", ".join([*FILTERS, ALL, NONE])
        raise UsageError(f"--filter {unknown[0] or given}: there is no such filter; take {known}")
    return tuple(name for name in FILTERS if name in names)


def _pick(indices: Iterable[int | None], items: Iterable[T]) -> dict[int, T]:
    """Return the items by these indices, and read no more than needed."""
    wanted = {index for index in indices if index is not None}
    end = max(wanted, default=-1) + 1
    return {index: item for index, item in enumerate(islice(items, end)) if index in wanted}
