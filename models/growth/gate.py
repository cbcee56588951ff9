"""Which grown requests are kept, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from models.growth.settings import Grow
from models.growth.similarity import Nearest
from models.quality.words import Words, words

# Why a candidate is dropped, for people; the first that is true counts. The first three are flaws that
# `models.answers.parse_pairs` finds.
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
class Candidate:
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


class Gate:
    """Judges candidates one after the other, and remembers those it keeps: their order decides. `train` and
    `test` are (name, request) of the seeds and of what must not be written again."""

    def __init__(
        self, config: Grow, train: Iterable[tuple[str, str]], test: Iterable[tuple[str, str]]
    ) -> None:
        self._config = config
        self._known = Nearest(config.threshold)
        self._test = Nearest(config.threshold)
        self._words: dict[str, Words] = {}
        for name, request in train:
            self._keep(name, words(request))
        for name, request in test:
            self._test.add(name, words(request))

    def judge(self, candidate: Candidate) -> Drop | None:
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
