"""The passages that a prompt shows: the choice among recorded hits, their form, controls, and ledger records.

No index is asked, so that every choice can be tried on the same records. Controls are shown in place of hits,
to measure the effects of content, noise and length apart.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from itertools import cycle, islice
from typing import Any

from models.core.experiment.passages import Selection
from models.core.types import Hit, Passage

SIGNATURE = re.compile(r"[\w.\s@*]*\(")
# A full stop ends a sentence if another one begins after it, but not within `e.g. Path`.
SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bcf)(?<!\bvs)[.!?](?=\s+[^\sa-z])")


def passage_line(passage: Passage) -> str:
    """Return `name(arguments): text`, or the text alone if the passage has no name."""
    return f"{passage_heading(passage)}: {passage.text}" if passage.name else passage.text


def passage_heading(passage: Passage) -> str:
    """Return `name(arguments)`."""
    # Some corpora have sample code in place of the signature.
    declared = SIGNATURE.match(passage.signature)
    arguments = passage.signature[declared.end() - 1 :] if declared else ""
    return f"{passage.name.removesuffix('()')}{arguments}"


def cut_passage(passage: Passage, config: Selection) -> Passage:
    """Return the part of the passage that `form` and `labelled` show. A passage without a name stays
    whole."""
    if not passage.name:
        return passage
    if config.form == "signature":
        return _text(passage_heading(passage))
    if config.form == "first_sentence":
        passage = replace(passage, text=first_sentence(passage.text))
    return passage if config.labelled else _text(passage.text)


def format_passages(passages: Iterable[Passage], config: Selection) -> tuple[Passage, ...]:
    """Return `passages`, best first, in the form and order of prompts; unlabelled ones are joined to one
    text."""
    shown = [cut_passage(passage, config) for passage in passages]
    if config.order == "best_last":
        shown.reverse()
    if config.labelled or not shown:
        return tuple(shown)
    return (_text(" ".join(passage_line(passage) for passage in shown)),)


def first_sentence(text: str) -> str:
    """Return `text` up to the first full stop, question or exclamation mark that ends a sentence."""
    end = SENTENCE_END.search(text)
    return text[: end.end()] if end else text


def _text(text: str) -> Passage:
    return Passage("", "", "", text)


CHARACTERS_PER_TOKEN = 4
# The number of additional hits if duplicates are left out.
ROOM_FOR_DUPLICATES = 10


def search_depth(config: Selection) -> int:
    """Return the number of hits that `select` needs."""
    return 2 * config.top_k + ROOM_FOR_DUPLICATES if config.distinct else config.top_k


def shown_hits(hits: Sequence[Hit], config: Selection) -> list[Hit]:
    """Return the recorded `hits`, best first, that are shown. Of a control all are: it was cut when
    recorded."""
    return list(hits) if config.control else filter_hits(hits, config)


def filter_hits(hits: Sequence[Hit], config: Selection) -> list[Hit]:
    """Return the `hits`, best first, that are shown without a control.

    They have a sufficient score and no duplicates, are at most `top_k`, and end before the first that exceeds
    the token budget, a token counted as four characters.
    """
    min_score = _min_score(hits, config)
    kept = [hit for hit in hits if min_score is None or hit.score >= min_score]
    return within_budget((_distinct(kept) if config.distinct else kept)[: config.top_k], config)


def within_budget(hits: Sequence[Hit], config: Selection) -> list[Hit]:
    """Return the hits before the first that exceeds the token budget."""
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


def _min_score(hits: Sequence[Hit], config: Selection) -> float | None:
    minima = [config.min_score] if config.min_score is not None else []
    if config.relative_score is not None and hits:
        best = hits[0].score
        # The distance to a negative best is that to a positive one.
        minima.append(best - (1 - config.relative_score) * abs(best))
    return max(minima, default=None)


def _distinct(hits: Sequence[Hit]) -> list[Hit]:
    """Leave out hits with the name, or the text but for white space, of a better one."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for hit in hits:
        marks = {("name", hit.passage.name), ("text", " ".join(hit.passage.text.split()))}
        marks = {(kind, mark) for kind, mark in marks if mark}
        if marks.isdisjoint(seen):
            kept.append(hit)
        seen |= marks
    return kept


# Candidates for each random passage; the one with the nearest length is taken.
DRAWN = 16
FILLER = (
    "This paragraph stands here to take up room and says nothing about the question. It can be read or "
    "passed over, and nothing changes. The words that follow are of the same kind: they are plain, they go "
    "on for a while, and they come to no point. "
)


def oracle_passages(right: Sequence[Passage], config: Selection) -> list[Hit]:
    """Return the right passages in the dataset's order, within `top_k` and the token budget."""
    return within_budget(_hits(right[: config.top_k], 1.0), config)


def random_passages(
    shown: Sequence[Passage], drawn: Sequence[Passage], excluded: Collection[str], config: Selection
) -> list[Hit]:
    """Return one of `drawn` with the nearest length for each passage that the search would have `shown`, none
    twice and none whose id is in `excluded`."""
    left = [passage for passage in drawn if passage.id not in excluded]
    taken = []
    for passage in shown[: len(left)]:
        wanted = shown_length(passage, config)
        near = min(left, key=lambda other: abs(shown_length(other, config) - wanted))
        left.remove(near)
        taken.append(near)
    return _hits(taken, 0.0)


def filler_passages(shown: Sequence[Passage], config: Selection) -> list[Hit]:
    """Return FILLER of the same length for each passage that the search would have `shown`."""
    return _hits([_filler(shown_length(passage, config)) for passage in shown], 0.0)


def shown_length(passage: Passage, config: Selection) -> int:
    """Return the number of characters that are shown of the passage."""
    return len(passage_line(cut_passage(passage, config)))


def _filler(characters: int) -> Passage:
    text = "".join(islice(cycle(FILLER), characters))
    return Passage("filler", "", "", text if text == text.rstrip() else f"{text[:-1]}.")


def _hits(passages: Sequence[Passage], score: float) -> list[Hit]:
    return [Hit(passage, score) for passage in passages]


DECIMALS = 6


def hit_record(hit: Hit) -> dict[str, Any]:
    """Return the ledger's record of a hit: the passage, its score, and the parts of the score by name."""
    scores = {name: round(score, DECIMALS) for name, score in hit.scores.items()}
    return {**asdict(hit.passage), "score": round(hit.score, DECIMALS), "scores": scores}


def hits_from_records(records: Iterable[Mapping[str, Any]]) -> list[Hit]:
    """Return the hits that a unit of the stage retrieve recorded, in their order."""
    hits = []
    for record in records:
        passage = Passage(**{field.name: record[field.name] for field in fields(Passage)})
        # Runs of earlier releases have no scores.
        hits.append(Hit(passage, record.get("score", 0.0), record.get("scores", {})))
    return hits
