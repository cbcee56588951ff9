"""Requests grown from seeds (Self-Instruct, Wang et al., 2023): their names, and which of them are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil

from models.core.experiment.options import Grow
from models.core.words import Words, words


def seed_name(split: str, row: int) -> str:
    """Name a row of the dataset, such as `train/17`; ids of questions may repeat."""
    return f"{split}/{row}"


def grown_name(unit: int, number: int) -> str:
    """Name pair `number`, from 1, in the reply to a unit. Each pair is a question of its own."""
    return f"grown-{unit}-{number}"


# The number of code points. Words beyond it share the last one.
MAX_WORDS = 0x10FFFF
_ROUNDING = 1e-9


class NearestRequests:
    """Finds the added request that is nearest to another one, if it reaches `threshold` (above 0, at most 1).

    The measure is ROUGE-L F (Lin, 2004): 2 LCS / (m + n) of two requests with m and n words. Each word
    becomes one character, so that rapidfuzz can compare: its similarity by insertions and deletions is
    ROUGE-L F. A request that reaches the threshold shares so many words that it has one of the rarest of
    them: only requests with one of these are compared.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._names: list[str] = []
        self._texts: list[str] = []
        self._characters: dict[str, str] = {}
        # Indices of the texts that have a word.
        self._holders: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, name: str, request: Words) -> None:
        for word in set(request):
            self._holders[word].append(len(self._texts))
        self._names.append(name)
        self._texts.append(self._text(request))

    def find(self, request: Words) -> tuple[str, float] | None:
        """Return name and similarity of the nearest request, the first added one of equals; None if none is
        near."""
        # Workers that grow nothing do without it.
        from rapidfuzz import process
        from rapidfuzz.distance import Indel

        holders = {word: self._holders.get(word, []) for word in request}
        shared = ceil(len(request) * self._threshold / (2 - self._threshold) - _ROUNDING)
        rarest = sorted(request, key=lambda word: len(holders[word]))[: len(request) - shared + 1]
        indices = sorted({index for word in rarest for index in holders[word]})
        texts = [self._texts[index] for index in indices]
        best = process.extractOne(
            self._text(request), texts, scorer=Indel.normalized_similarity, score_cutoff=self._threshold
        )
        return (self._names[indices[best[2]]], float(best[1])) if best else None

    def _text(self, request: Words) -> str:
        for word in request:
            if word not in self._characters:
                self._characters[word] = chr(min(len(self._characters), MAX_WORDS))
        return "".join(map(self._characters.__getitem__, request))


# Reasons to drop a candidate, in plain words; the first that is true counts. `parse_pairs` finds the first
# three.
DROPS: Mapping[str, str] = {
    "no_request": "an answer without a request",
    "no_answer": "a request without an answer",
    "truncated": "cut off with its reply",
    "short": "a request of fewer words than grow.least",
    "long": "a request of more words than grow.most",
    "parrot": "one of the examples that were shown",
    "test": "too similar to a request of the test split",
    "similar": "too similar to a train request, or to one that was kept before",
}


@dataclass(frozen=True, slots=True)
class GrowthCandidate:
    """A pair that a model wrote. `id` is its own name, `flaw` one of DROPS or empty, and `shown` the names of
    the examples in its prompt."""

    id: str
    request: str
    answer: str
    flaw: str = ""
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """A dropped candidate. `reason` is one of DROPS; `other` names the request that it is like by `score`."""

    reason: str
    other: str = ""
    score: float | None = None


class GrowthFilter:
    """Judges candidates one by one and remembers those it keeps, so their order matters.

    `train` has (name, request) of the seeds, `test` that of requests that must not be written again.
    """

    def __init__(
        self, config: Grow, train: Iterable[tuple[str, str]], test: Iterable[tuple[str, str]]
    ) -> None:
        self._config = config
        self._known = NearestRequests(config.threshold)
        self._test = NearestRequests(config.threshold)
        self._words: dict[str, Words] = {}
        for name, request in train:
            self._keep(name, words(request))
        for name, request in test:
            self._test.add(name, words(request))

    def judge(self, candidate: GrowthCandidate) -> Drop | None:
        """Keep the candidate and return None, or return the reason to drop it."""
        if candidate.flaw:
            return Drop(candidate.flaw)
        request = words(candidate.request)
        if not self._config.least <= len(request) <= self._config.most:
            return Drop("short" if len(request) < self._config.least else "long")
        for name in candidate.shown:
            if self._words.get(name) == request:
                return Drop("parrot", name, 1.0)
        if near := self._test.find(request):
            return Drop("test", *near)
        if near := self._known.find(request):
            return Drop("similar", *near)
        self._keep(candidate.id, request)
        return None

    def _keep(self, name: str, request: Words) -> None:
        self._words[name] = request
        self._known.add(name, request)
