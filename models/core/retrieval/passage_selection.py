"""How a passage looks in a prompt. Whole or cut down, it stays a passage; one without a name is a text that
is shown as it is.

Which passages are shown of those that a search recorded. It asks no index: every choice can be tried on
the same records.

Controls: what is shown in place of what was found, to tell apart what documentation says, what noise
does, and what length does.

Hits as the ledger keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import cycle, islice
from typing import Any

from models.core.experiment.passages import Selection
from models.core.types import Hit, Passage

SIGNATURE = re.compile(r"[\w.\s@*]*\(")
# A full stop ends a sentence where another begins after it, but not within `e.g. Path`.
SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bcf)(?<!\bvs)[.!?](?=\s+[^\sa-z])")


def passage_line(passage: Passage) -> str:
    """`name(arguments): text`; the text alone where there is no name."""
    return f"{passage_heading(passage)}: {passage.text}" if passage.name else passage.text


def passage_heading(passage: Passage) -> str:
    """`name(arguments)`."""
    # Some corpora hold sample code where the signature should be: it is no label.
    declared = SIGNATURE.match(passage.signature)
    arguments = passage.signature[declared.end() - 1 :] if declared else ""
    return f"{passage.name.removesuffix('()')}{arguments}"


def cut_passage(passage: Passage, config: Selection) -> Passage:
    """As much of the passage as `form` and `labelled` show."""
    if not passage.name:
        return passage
    if config.form == "signature":
        return _text(passage_heading(passage))
    if config.form == "first_sentence":
        passage = replace(passage, text=first_sentence(passage.text))
    return passage if config.labelled else _text(passage.text)


def present(passages: Iterable[Passage], config: Selection) -> tuple[Passage, ...]:
    """`passages`, best first, in the form and order in which prompts show them; joined to one text where
    they are not labelled."""
    shown = [cut_passage(passage, config) for passage in passages]
    if config.order == "best_last":
        shown.reverse()
    if config.labelled or not shown:
        return tuple(shown)
    return (_text(" ".join(passage_line(passage) for passage in shown)),)


def first_sentence(text: str) -> str:
    """Up to the first full stop, question or exclamation mark that ends a sentence."""
    end = SENTENCE_END.search(text)
    return text[: end.end()] if end else text


def _text(text: str) -> Passage:
    return Passage("", "", "", text)


CHARACTERS_PER_TOKEN = 4
# How many more hits are recorded where duplicates among them are left out.
ROOM_FOR_DUPLICATES = 10


def search_depth(config: Selection) -> int:
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
        shown = cut_passage(hit.passage, config)
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


# Candidates that a random passage of the right length is taken from, for each passage to replace.
DRAWN = 16
FILLER = (
    "This paragraph stands here to take up room and says nothing about the question. It can be read or "
    "passed over, and nothing changes. The words that follow are of the same kind: they are plain, they go "
    "on for a while, and they come to no point. "
)


def oracle_passages(right: Sequence[Passage], config: Selection) -> list[Hit]:
    """The right passages, in the dataset's order, as many as `top_k` and the token budget allow."""
    return within_budget(_hits(right[: config.top_k], 1.0), config)


def random_passages(
    shown: Sequence[Passage], drawn: Sequence[Passage], but: Collection[str], config: Selection
) -> list[Hit]:
    """For each passage that the search would have `shown` one of `drawn`, none twice: that whose shown
    length is nearest. No passage whose id is in `but` is one of them."""
    left = [passage for passage in drawn if passage.id not in but]
    taken = []
    for passage in shown[: len(left)]:
        wanted = shown_length(passage, config)
        near = min(left, key=lambda other: abs(shown_length(other, config) - wanted))
        left.remove(near)
        taken.append(near)
    return _hits(taken, 0.0)


def filler_passages(shown: Sequence[Passage], config: Selection) -> list[Hit]:
    """For each passage that the search would have `shown` as many characters of FILLER."""
    return _hits([_filler(shown_length(passage, config)) for passage in shown], 0.0)


def shown_length(passage: Passage, config: Selection) -> int:
    """Characters of the passage as it is shown."""
    return len(passage_line(cut_passage(passage, config)))


def _filler(characters: int) -> Passage:
    text = "".join(islice(cycle(FILLER), characters))
    return Passage("filler", "", "", text if text == text.rstrip() else f"{text[:-1]}.")


def _hits(passages: Sequence[Passage], score: float) -> list[Hit]:
    return [Hit(passage, score) for passage in passages]


DECIMALS = 6


def hit_record(hit: Hit) -> dict[str, Any]:
    """The passage with its score, and the parts of the score by name."""
    scores = {name: round(score, DECIMALS) for name, score in hit.scores.items()}
    return {**asdict(hit.passage), "score": round(hit.score, DECIMALS), "scores": scores}


def hits_from_records(records: Iterable[Mapping[str, Any]]) -> list[Hit]:
    """What a unit of the stage retrieve recorded, in that order."""
    return [_from_record(record) for record in records]


def _from_record(record: Mapping[str, Any]) -> Hit:
    passage = Passage(record["id"], record["name"], record["signature"], record["text"], record["library"])
    # Runs of earlier releases have no parts.
    return Hit(passage, record.get("score", 0.0), record.get("scores", {}))
