"""What of the test split stands in train rows: whole requests, whole answers, questions, words in a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from models.quality.settings import Contamination
from models.quality.words import Words, ngrams, words
from models.syntax import normal_form

Kind = Literal["request", "answer", "question", "words", "code"]
KINDS: tuple[Kind, ...] = ("request", "answer", "question", "words", "code")


@dataclass(frozen=True, slots=True)
class Overlap:
    """A train row repeats test row `other`; `shared` are the words in a row that both have.

    request   all words of the request
    answer    the answer, in the form that the task compares: code by syntax tree
    question  the id of the question: another phrasing of the same
    words     words in a row of the request
    code      words in a row of the code
    """

    kind: Kind
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
        self._whole: dict[tuple[Kind, object], int] = {}
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

    def _run(self, kind: Kind, known: dict[int, int], text: str) -> Overlap | None:
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

    def _keys(self, request: str, form: str, question: str) -> list[tuple[Kind, object]]:
        keys: list[tuple[Kind, object]] = []
        if said := words(request):
            keys.append(("request", hash(said)))
        if form and self._settings.answers:
            keys.append(("answer", hash(form)))
        if question:
            keys.append(("question", question))
        return keys
