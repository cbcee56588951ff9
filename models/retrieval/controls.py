"""Controls: what is shown in place of what was found, to tell apart what documentation says, what noise
does, and what length does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import cycle, islice

from models.retrieval.forms import formed, line
from models.retrieval.selection import within_budget
from models.retrieval.settings import Selection
from models.types import Hit, Passage

# Candidates that a random passage of the right length is taken from, for each passage to replace.
DRAWN = 16
FILLER = (
    "This paragraph stands here to take up room and says nothing about the question. It can be read or "
    "passed over, and nothing changes. The words that follow are of the same kind: they are plain, they go "
    "on for a while, and they come to no point. "
)


def oracle(right: Sequence[Passage], config: Selection) -> list[Hit]:
    """The right passages, in the dataset's order, as many as `top_k` and the token budget allow."""
    return within_budget(_hits(right[: config.top_k], 1.0), config)


def random(
    shown: Sequence[Passage], drawn: Sequence[Passage], but: Collection[str], config: Selection
) -> list[Hit]:
    """For each passage that the search would have `shown` one of `drawn`, none twice: that whose shown
    length is nearest. No passage whose id is in `but` is one of them."""
    left = [passage for passage in drawn if passage.id not in but]
    taken = []
    for passage in shown[: len(left)]:
        wanted = length(passage, config)
        near = min(left, key=lambda other: abs(length(other, config) - wanted))
        left.remove(near)
        taken.append(near)
    return _hits(taken, 0.0)


def filler(shown: Sequence[Passage], config: Selection) -> list[Hit]:
    """For each passage that the search would have `shown` as many characters of FILLER."""
    return _hits([_filler(length(passage, config)) for passage in shown], 0.0)


def length(passage: Passage, config: Selection) -> int:
    """Characters of the passage as it is shown."""
    return len(line(formed(passage, config)))


def _filler(characters: int) -> Passage:
    text = "".join(islice(cycle(FILLER), characters))
    return Passage("filler", "", "", text if text == text.rstrip() else f"{text[:-1]}.")


def _hits(passages: Sequence[Passage], score: float) -> list[Hit]:
    return [Hit(passage, score) for passage in passages]
