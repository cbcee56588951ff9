"""Which passages are shown of those that a search recorded. It asks no index: every choice can be tried on
the same records."""

from __future__ import annotations

from collections.abc import Sequence

from models.retrieval.forms import formed
from models.retrieval.settings import Selection
from models.types import Hit

CHARACTERS_PER_TOKEN = 4
# How many more hits are recorded where duplicates among them are left out.
ROOM_FOR_DUPLICATES = 10


def depth(config: Selection) -> int:
    """How many hits `select` needs to see."""
    return 2 * config.top_k + ROOM_FOR_DUPLICATES if config.distinct else config.top_k


def select(hits: Sequence[Hit], config: Selection) -> list[Hit]:
    """Those of the recorded `hits`, best first, whose passages are shown. A control was made to measure when
    it was recorded: all of it."""
    return list(hits) if config.control else choose(hits, config)


def choose(hits: Sequence[Hit], config: Selection) -> list[Hit]:
    """Those of `hits`, best first, that are shown where no control takes their place.

    Those whose scores are high enough; without duplicates; `top_k` of them; up to the first that the token
    budget has no room for, a token counted as four characters.
    """
    least = _least_score(hits, config)
    kept = [hit for hit in hits if least is None or hit.score >= least]
    return within_budget((_distinct(kept) if config.distinct else kept)[: config.top_k], config)


def within_budget(hits: Sequence[Hit], config: Selection) -> list[Hit]:
    """The hits up to the first that no longer fits."""
    if config.token_budget is None:
        return list(hits)
    room = config.token_budget * CHARACTERS_PER_TOKEN
    fitting: list[Hit] = []
    for hit in hits:
        shown = formed(hit.passage, config)
        room -= len(shown.name) + len(shown.signature) + len(shown.text)
        if room < 0:
            break
        fitting.append(hit)
    return fitting


def _least_score(hits: Sequence[Hit], config: Selection) -> float | None:
    least = [config.min_score] if config.min_score is not None else []
    if config.relative_score is not None and hits:
        best = hits[0].score
        # As far below a negative best as below a positive one.
        least.append(best - (1 - config.relative_score) * abs(best))
    return max(least, default=None)


def _distinct(hits: Sequence[Hit]) -> list[Hit]:
    """Those whose name and text, but for white space, no better one has."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for hit in hits:
        marks = {("name", hit.passage.name), ("text", " ".join(hit.passage.text.split()))}
        marks = {(kind, mark) for kind, mark in marks if mark}
        if marks.isdisjoint(seen):
            kept.append(hit)
        seen |= marks
    return kept
