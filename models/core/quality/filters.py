"""Quality filters over one set of rows, and overlaps of train rows with the test split."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.core.answers.hint_leaks import mentions_hint
from models.core.experiment.quality_filters import (
    FILTERS,
    Agreement,
    Contamination,
    Length,
    Near,
    Quality,
    Script,
)
from models.core.programs import normal_form
from models.core.quality.marks import Mark, MarkTable
from models.core.quality.masked_rows import MaskedTestSplit
from models.core.words import Words, ngrams, share_in_script, words

if TYPE_CHECKING:
    from models.core.quality.near_duplicates import NearDuplicates, OpenFile


OverlapKind = Literal["request", "answer", "question", "words", "code"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """A train row repeats test row `other`; `shared` are the consecutive words of both.

    request   all words of the request
    answer    the answer, in the form that the task compares: code by syntax tree
    question  the id of the question: another phrasing of the same
    words     consecutive words of the request
    code      consecutive words of the code
    """

    kind: OverlapKind
    other: int
    shared: Words = ()

    def __str__(self) -> str:
        if self.kind in {"words", "code"}:
            return f"{len(self.shared)} words of the test {'request' if self.kind == 'words' else 'answer'}"
        return f"same {self.kind} as the test row"


class TestSplit:
    """The test split, with which train rows are compared. Memory grows with the test split only."""

    # Pytest must not collect it.
    __test__ = False

    def __init__(self, settings: Contamination, form_of: Callable[[str], str] = normal_form) -> None:
        self._settings = settings
        self._form_of = form_of
        self._whole: dict[tuple[OverlapKind, object], int] = {}
        self._words: dict[int, int] = {}
        self._code: dict[int, int] = {}

    def add(self, row: int, request: str, answer: str, question: str = "") -> None:
        """Add a test row, which overlaps name by `row`. `question` is empty if rows name none."""
        for kind, key in self._keys(request, self._form_of(answer), question):
            self._whole.setdefault((kind, key), row)
        for rows, text in ((self._words, request), (self._code, answer)):
            for ngram in ngrams(words(text), self._settings.ngram):
                rows.setdefault(hash(ngram), row)

    def overlap(self, request: str, prose: str, answer: str, form: str, question: str = "") -> Overlap | None:
        """Return the strongest overlap of a train row. `prose` is the rest of its words, `form` the normal
        form of its answer."""
        for kind, key in self._keys(request, form, question):
            if (other := self._whole.get((kind, key))) is not None:
                return Overlap(kind, other)
        return (
            self._shared_words("words", self._words, request)
            or self._shared_words("words", self._words, prose)
            or (self._shared_words("code", self._code, answer) if self._settings.answers else None)
        )

    def _shared_words(self, kind: OverlapKind, rows: dict[int, int], text: str) -> Overlap | None:
        """Return the first consecutive words that a test row has, too, with all that follow in both."""
        shared: list[str] = []
        row = -1
        for ngram in ngrams(words(text), self._settings.ngram):
            other = rows.get(hash(ngram))
            if shared and other != row:
                break
            if other is not None:
                row, shared = other, [*shared, ngram[-1]] if shared else list(ngram)
        return Overlap(kind, row, tuple(shared)) if shared else None

    def _keys(self, request: str, form: str, question: str) -> list[tuple[OverlapKind, object]]:
        keys: list[tuple[OverlapKind, object]] = []
        if tokens := words(request):
            keys.append(("request", hash(tokens)))
        if form and self._settings.answers:
            keys.append(("answer", hash(form)))
        if question:
            keys.append(("question", question))
        return keys


@dataclass(frozen=True, slots=True)
class QualityCandidate:
    """A row to be judged.

    `rationale` is empty for a row of a dataset. `question` is shared by paraphrases, empty if rows name none.
    `agreement` is the share of samples that agree, if there was a vote. `leaks` marks a known mention of the
    hint.
    """

    request: str
    code: str
    rationale: str = ""
    augmentation: str = ""
    question: str = ""
    agreement: float | None = None
    leaks: bool = False

    @property
    def text(self) -> str:
        """The text in which near duplicates are found."""
        return f"{self.request}\n{self.rationale or self.code}"


# Filters that mark a row which equals an earlier one, and why.
_EQUAL = {"exact": "the same text as an earlier row", "code": "the code of an earlier row"}
# Filters that compare with the test split.
OF_TEST = ("contamination", "masked")


class Filters:
    """The filters of `names`, with settings or defaults. Rows are added one by one; marks come out.

    The first of equal rows stays. Memory grows by about 80 bytes a row, and 20 a mark; files hold what
    `near` needs. Not all pairs are compared.
    """

    def __init__(
        self,
        settings: Quality,
        names: Sequence[str],
        test: Iterable[tuple[str, str, str]] = (),
        form_of: Callable[[str], str] = normal_form,
        *,
        open_file: OpenFile,
    ) -> None:
        """Set up the filters. `test` has request, answer and question of the rows of the test split; answers
        are equal if `form_of` them is. `open_file` gives temporary files, which `marks` closes."""
        self._form_of = form_of
        self._names = [name for name in FILTERS if name in names]
        self._length = settings.length or Length()
        self._agreement = settings.agreement or Agreement()
        self._script = settings.script or Script()
        self._near = _near_duplicates(settings.near or Near(), open_file) if "near" in names else None
        self._contamination = settings.contamination or Contamination()
        self._test = TestSplit(self._contamination, form_of)
        self._masked = MaskedTestSplit(form_of)
        for index, (request, answer, question) in enumerate(test if set(OF_TEST) & set(names) else ()):
            if "contamination" in names:
                self._test.add(index, request, answer, question)
            if "masked" in names:
                self._masked.add(index, request, answer)
        # Hashes of 64 bits, and the rows that have them: two of a million collide with a chance of 10^-7.
        self._hashes = {name: (array("q"), array("I")) for name in _EQUAL if name in names}
        self._marks = MarkTable()
        self._count = 0

    def add(self, candidate: QualityCandidate) -> None:
        row = self._count
        self._count += 1
        form = self._form_of(candidate.code) if {"code", "contamination"}.intersection(self._names) else ""
        for name in self._names:
            if (check := _CHECKS.get(name)) and (mark := check(self, row, candidate, form)):
                self._marks.append(mark)
        if "exact" in self._hashes:
            text = (candidate.rationale or candidate.code).split()
            self._note("exact", row, (" ".join(candidate.request.casefold().split()), *text))
        if "code" in self._hashes and form:
            self._note("code", row, form)
        if self._near:
            self._near.add(candidate.text)

    def _note(self, name: str, row: int, value: object) -> None:
        hashes, rows = self._hashes[name]
        hashes.append(hash(value))
        rows.append(row)

    def marks(self, candidates: Iterable[QualityCandidate]) -> MarkTable:
        """Return the marks of all rows, in their order. `candidates` are those that were added, again.
        Nothing can be added afterwards."""
        # Rows with the same words are marked as exact duplicates only, if that filter is on.
        exact = bytearray(self._count)
        for name in self._hashes:
            for mark in self._equal(name):
                self._marks.append(mark)
                exact[mark.row] |= name == "exact"
        for row, other in self._near.pairs(each.text for each in candidates) if self._near else ():
            if not exact[row]:
                self._marks.append(Mark(row, "near", "most of its phrases are an earlier row's", other))
        self._marks.sort()
        return self._marks

    def _equal(self, name: str) -> Iterator[Mark]:
        # Every command reads the settings of filters; few need numpy.
        import numpy as np

        from models.core.quality.near_duplicates import equal_indices

        hashes, rows = self._hashes[name]
        for first, *others in equal_indices(np.frombuffer(hashes, np.int64)):
            for other in others:
                yield Mark(rows[other], name, _EQUAL[name], rows[first])

    def _hint_leak(self, row: int, candidate: QualityCandidate, _form: str) -> Mark | None:
        leaks = candidate.leaks or mentions_hint(candidate.rationale, candidate.request)
        return Mark(row, "hint_leak", "mentions its hint") if leaks else None

    def _contaminated(self, row: int, candidate: QualityCandidate, form: str) -> Mark | None:
        prose = f"{candidate.augmentation}\n{candidate.rationale}"
        overlap = self._test.overlap(candidate.request, prose, candidate.code, form, candidate.question)
        if overlap is None:
            return None
        shared = f": {' '.join(overlap.shared)}" if overlap.shared else ""
        return Mark(row, "contamination", f"{overlap}{shared}", overlap.other, overlap.kind)

    def _like_test(self, row: int, candidate: QualityCandidate, _form: str) -> Mark | None:
        if (overlap := self._masked.overlap(candidate.request, candidate.code)) is None:
            return None
        kind, other = overlap
        which = "a test row" if kind == "row" else f"the {kind} of a test row"
        return Mark(row, "masked", f"{which}, but for literals and names", other, kind)

    def _agreed(self, row: int, candidate: QualityCandidate, _form: str) -> Mark | None:
        if candidate.agreement is None or candidate.agreement >= self._agreement.least:
            return None
        return Mark(row, "agreement", f"{100 * candidate.agreement:.0f} % of its samples agree")

    def _measured(self, row: int, candidate: QualityCandidate, _form: str) -> Mark | None:
        count = len((candidate.rationale or candidate.request).split())
        if self._length.least <= count <= self._length.most:
            return None
        kind = "short" if count < self._length.least else "long"
        return Mark(row, "length", f"too {kind}: {count} words", kind=kind)

    def _written(self, row: int, candidate: QualityCandidate, _form: str) -> Mark | None:
        share = share_in_script(f"{candidate.request}\n{candidate.rationale}", self._script.name)
        if share >= self._script.least:
            return None
        return Mark(row, "script", f"{100 * share:.0f} % of its letters are {self._script.name}")


def _near_duplicates(settings: Near, open_file: OpenFile) -> NearDuplicates:
    from models.core.quality.near_duplicates import NearDuplicates

    return NearDuplicates(settings.threshold, open_file)


_CHECKS: Mapping[str, Callable[[Filters, int, QualityCandidate, str], Mark | None]] = {
    "hint_leak": Filters._hint_leak,
    "contamination": Filters._contaminated,
    "masked": Filters._like_test,
    "agreement": Filters._agreed,
    "length": Filters._measured,
    "script": Filters._written,
}
