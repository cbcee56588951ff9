"""What of the test split stands in train rows: whole requests, whole answers, questions, words in a row.

All filters over one set of rows: rows go in one by one, marks come out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.core.correctness import mentions_hint
from models.core.experiment.options import FILTERS, Agreement, Contamination, Length, Near, Quality, Script
from models.core.programs import normal_form
from models.core.words import Words, ngrams, share_in_script, words

if TYPE_CHECKING:
    from models.core.quality.near_duplicates import NearDuplicates


OverlapKind = Literal["request", "answer", "question", "words", "code"]
OVERLAP_KINDS: tuple[OverlapKind, ...] = ("request", "answer", "question", "words", "code")


@dataclass(frozen=True, slots=True)
class Overlap:
    """A train row repeats test row `other`; `shared` are the words in a row that both have.

    request   all words of the request
    answer    the answer, in the form that the task compares: code by syntax tree
    question  the id of the question: another phrasing of the same
    words     words in a row of the request
    code      words in a row of the code
    """

    kind: OverlapKind
    other: int
    shared: Words = ()

    def __str__(self) -> str:
        if self.kind in {"words", "code"}:
            return f"{len(self.shared)} words of the test {'request' if self.kind == 'words' else 'answer'}"
        return f"same {self.kind} as the test row"


class TestSplit:
    """Memory grows with the test split, not with what is compared with it."""

    # For pytest: the name is the domain's.
    __test__ = False

    def __init__(self, settings: Contamination, form_of: Callable[[str], str] = normal_form) -> None:
        self._settings = settings
        self._form_of = form_of
        self._whole: dict[tuple[OverlapKind, object], int] = {}
        self._words: dict[int, int] = {}
        self._code: dict[int, int] = {}

    def add(self, place: int, request: str, answer: str, question: str = "") -> None:
        """`place` is what an overlap will name. `question` is empty where rows name none."""
        for kind, key in self._keys(request, self._form_of(answer), question):
            self._whole.setdefault((kind, key), place)
        for known, text in ((self._words, request), (self._code, answer)):
            for run in ngrams(words(text), self._settings.ngram):
                known.setdefault(hash(run), place)

    def overlap(self, request: str, prose: str, answer: str, form: str, question: str = "") -> Overlap | None:
        """The strongest overlap of a train row. `prose` is whatever else it says in words, `form` the normal
        form of its answer."""
        for kind, key in self._keys(request, form, question):
            if (other := self._whole.get((kind, key))) is not None:
                return Overlap(kind, other)
        return (
            self._run("words", self._words, request)
            or self._run("words", self._words, prose)
            or (self._run("code", self._code, answer) if self._settings.answers else None)
        )

    def _run(self, kind: OverlapKind, known: dict[int, int], text: str) -> Overlap | None:
        """The first words in a row that a test row has, too, with all that follow in both."""
        shared: list[str] = []
        place = -1
        for run in ngrams(words(text), self._settings.ngram):
            other = known.get(hash(run))
            if shared and other != place:
                break
            if other is not None:
                place, shared = other, [*shared, run[-1]] if shared else list(run)
        return Overlap(kind, place, tuple(shared)) if shared else None

    def _keys(self, request: str, form: str, question: str) -> list[tuple[OverlapKind, object]]:
        keys: list[tuple[OverlapKind, object]] = []
        if said := words(request):
            keys.append(("request", hash(said)))
        if form and self._settings.answers:
            keys.append(("answer", hash(form)))
        if question:
            keys.append(("question", question))
        return keys


@dataclass(frozen=True, slots=True)
class QualityCandidate:
    """A row to be looked at. `rationale` is empty for a row of a dataset; `question` is what paraphrases
    share, empty where rows name none; `agreement` the share of samples that agree, where there was a vote;
    `leaks` says that it is known to mention its hint."""

    request: str
    code: str
    rationale: str = ""
    augmentation: str = ""
    question: str = ""
    agreement: float | None = None
    leaks: bool = False

    @property
    def text(self) -> str:
        """What duplicates are told by."""
        return f"{self.request}\n{self.rationale or self.code}"


@dataclass(frozen=True, slots=True)
class Mark:
    """`filter` marks the row that was added at `place`, and says `why`. `other` is the place of the earlier
    row that it is like; of the test row, where the filter is `contamination`. `kind` tells apart how."""

    place: int
    filter: str
    why: str
    other: int | None = None
    kind: str = ""


class Filters:
    """The filters of `names`, with the settings given or their defaults. Of rows that are alike the first
    stays. Memory grows by about a kilobyte a row; nothing is compared all with all."""

    def __init__(
        self,
        settings: Quality,
        names: Sequence[str],
        test: Iterable[tuple[str, str, str]] = (),
        form_of: Callable[[str], str] = normal_form,
    ) -> None:
        """`test` holds request, answer and question of the rows of the test split; answers are the same where
        `form_of` them is."""
        self._form_of = form_of
        self._names = [name for name in FILTERS if name in names]
        self._length = settings.length or Length()
        self._agreement = settings.agreement or Agreement()
        self._script = settings.script or Script()
        self._near = _near_duplicates(settings.near or Near()) if "near" in names else None
        self._contamination = settings.contamination or Contamination()
        self._test = TestSplit(self._contamination, form_of)
        if "contamination" in names:
            for place, row in enumerate(test):
                self._test.add(place, *row)
        self._seen: dict[tuple[str, int], int] = {}
        self._marks: list[Mark] = []
        self._count = 0

    def add(self, row: QualityCandidate) -> None:
        place = self._count
        self._count += 1
        form = self._form_of(row.code) if self._names_any("code", "contamination") else ""
        for name in self._names:
            if name != "near" and (mark := _LOOKS[name](self, place, row, form)):
                self._marks.append(mark)
        if self._near:
            self._near.add(row.text)

    def marks(self) -> list[Mark]:
        """Of all rows added so far, in their order."""
        near = self._near.pairs() if self._near else {}
        exact = {mark.place for mark in self._marks if mark.filter == "exact"}
        found = [*self._marks, *self._nearly(near, exact)]
        order = list(FILTERS)
        return sorted(found, key=lambda mark: (mark.place, order.index(mark.filter)))

    def _names_any(self, *names: str) -> bool:
        return any(name in self._names for name in names)

    def _nearly(self, near: Mapping[int, int], exact: set[int]) -> Iterator[Mark]:
        """What is said in the same words is the business of `exact`, where that is asked."""
        for place, other in near.items():
            if place not in exact:
                yield Mark(place, "near", "most of its phrases are an earlier row's", other)

    def _exact(self, place: int, row: QualityCandidate, _form: str) -> Mark | None:
        # Hashes of 64 bits: in a million rows, two that differ are taken for one with a chance of 10^-7.
        said = (" ".join(row.request.casefold().split()), *(row.rationale or row.code).split())
        first = self._seen.setdefault(("exact", hash(said)), place)
        return None if first == place else Mark(place, "exact", "the same text as an earlier row", first)

    def _code(self, place: int, _row: QualityCandidate, form: str) -> Mark | None:
        first = self._seen.setdefault(("code", hash(form)), place) if form else place
        return None if first == place else Mark(place, "code", "the code of an earlier row", first)

    def _hint_leak(self, place: int, row: QualityCandidate, _form: str) -> Mark | None:
        leaks = row.leaks or mentions_hint(row.rationale, row.request)
        return Mark(place, "hint_leak", "mentions its hint") if leaks else None

    def _contaminated(self, place: int, row: QualityCandidate, form: str) -> Mark | None:
        prose = f"{row.augmentation}\n{row.rationale}"
        found = self._test.overlap(row.request, prose, row.code, form, row.question)
        if found is None:
            return None
        shared = f": {' '.join(found.shared)}" if found.shared else ""
        return Mark(place, "contamination", f"{found}{shared}", found.other, found.kind)

    def _agreed(self, place: int, row: QualityCandidate, _form: str) -> Mark | None:
        if row.agreement is None or row.agreement >= self._agreement.least:
            return None
        return Mark(place, "agreement", f"{100 * row.agreement:.0f} % of its samples agree")

    def _measured(self, place: int, row: QualityCandidate, _form: str) -> Mark | None:
        count = len((row.rationale or row.request).split())
        if self._length.least <= count <= self._length.most:
            return None
        kind = "short" if count < self._length.least else "long"
        return Mark(place, "length", f"too {kind}: {count} words", kind=kind)

    def _written(self, place: int, row: QualityCandidate, _form: str) -> Mark | None:
        share = share_in_script(f"{row.request}\n{row.rationale}", self._script.name)
        if share >= self._script.least:
            return None
        return Mark(place, "script", f"{100 * share:.0f} % of its letters are {self._script.name}")


def _near_duplicates(settings: Near) -> NearDuplicates:
    # Every command reads these filters' settings; few need numpy.
    from models.core.quality.near_duplicates import NearDuplicates

    return NearDuplicates(settings.threshold)


_LOOKS: Mapping[str, Callable[[Filters, int, QualityCandidate, str], Mark | None]] = {
    "exact": Filters._exact,
    "code": Filters._code,
    "hint_leak": Filters._hint_leak,
    "contamination": Filters._contaminated,
    "agreement": Filters._agreed,
    "length": Filters._measured,
    "script": Filters._written,
}
