"""How examples are called in prompts of growth, in its files and its provenance.

The nearest of many requests by ROUGE-L F (Lin, 2004): 2 LCS / (m + n) of two with m and n words.

Which grown requests are kept, and why the others are not.

New requests written from seeds (Self-Instruct, Wang et al., 2023): settings, names, what is kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil

from models.core.experiment.options import Grow
from models.core.words import Words, words


def seed_name(split: str, row: int) -> str:
    """Of a row of the dataset, such as `train/17`; ids of questions may repeat."""
    return f"{split}/{row}"


def grown_name(unit: int, place: int) -> str:
    """Of pair `place`, from 1, in the reply to a unit; each is a question of its own."""
    return f"grown-{unit}-{place}"


# Code points there are; words beyond share the last one.
MAX_WORDS = 0x10FFFF
_ROUNDING = 1e-9


class NearestRequests:
    """Finds what reaches `threshold`, above 0 and at most 1.

    Each word becomes one character, so that rapidfuzz compares texts: its similarity by insertions and
    deletions is ROUGE-L F. What reaches the threshold shares so many words with what is looked for that it
    has one of the rarest of these: only such requests are compared.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._names: list[str] = []
        self._texts: list[str] = []
        self._characters: dict[str, str] = {}
        self._places: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, name: str, said: Words) -> None:
        for word in set(said):
            self._places[word].append(len(self._texts))
        self._names.append(name)
        self._texts.append(self._text(said))

    def find(self, said: Words) -> tuple[str, float] | None:
        """Name and similarity of the nearest, of equals the first that was added; None below `threshold`."""
        # Workers that grow nothing do without it.
        from rapidfuzz import process
        from rapidfuzz.distance import Indel

        known = {word: self._places.get(word, []) for word in said}
        shared = ceil(len(said) * self._threshold / (2 - self._threshold) - _ROUNDING)
        rarest = sorted(said, key=lambda word: len(known[word]))[: len(said) - shared + 1]
        places = sorted({place for word in rarest for place in known[word]})
        texts = [self._texts[place] for place in places]
        best = process.extractOne(
            self._text(said), texts, scorer=Indel.normalized_similarity, score_cutoff=self._threshold
        )
        return (self._names[places[best[2]]], float(best[1])) if best else None

    def _text(self, said: Words) -> str:
        for word in said:
            if word not in self._characters:
                self._characters[word] = chr(min(len(self._characters), MAX_WORDS))
        return "".join(map(self._characters.__getitem__, said))


# Why a candidate is dropped, for people; the first that is true counts. The first three are flaws that
# `models.core.answers.parse_pairs` finds.
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
    """A pair that a model wrote. `id` is a name of its own, `flaw` one of DROPS or nothing; `shown` are the
    names of the examples that its prompt held."""

    id: str
    request: str
    answer: str
    flaw: str = ""
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """`reason` is one of DROPS; `other` names the request that the candidate is like, `score` is how much."""

    reason: str
    other: str = ""
    score: float | None = None


class GrowthFilter:
    """Judges candidates one after the other, and remembers those it keeps: their order decides. `train` and
    `test` are (name, request) of the seeds and of what must not be written again."""

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
        """Why the candidate is dropped; None where it is kept."""
        if candidate.flaw:
            return Drop(candidate.flaw)
        said = words(candidate.request)
        if not self._config.least <= len(said) <= self._config.most:
            return Drop("short" if len(said) < self._config.least else "long")
        for name in candidate.shown:
            if self._words.get(name) == said:
                return Drop("parrot", name, 1.0)
        if found := self._test.find(said):
            return Drop("test", *found)
        if found := self._known.find(said):
            return Drop("similar", *found)
        self._keep(candidate.id, said)
        return None

    def _keep(self, name: str, said: Words) -> None:
        self._words[name] = said
        self._known.add(name, said)
