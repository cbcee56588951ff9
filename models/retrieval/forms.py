"""How a passage looks in a prompt. Whole or cut down, it stays a passage; one without a name is a text that
is shown as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from models.retrieval.settings import Selection
from models.types import Passage

SIGNATURE = re.compile(r"[\w.\s@*]*\(")
# A full stop ends a sentence where another begins after it, but not within `e.g. Path`.
SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bcf)(?<!\bvs)[.!?](?=\s+[^\sa-z])")


def line(passage: Passage) -> str:
    """`name(arguments): text`; the text alone where there is no name."""
    return f"{heading(passage)}: {passage.text}" if passage.name else passage.text


def heading(passage: Passage) -> str:
    """`name(arguments)`."""
    # Some corpora hold sample code where the signature should be: it is no label.
    declared = SIGNATURE.match(passage.signature)
    arguments = passage.signature[declared.end() - 1 :] if declared else ""
    return f"{passage.name.removesuffix('()')}{arguments}"


def formed(passage: Passage, config: Selection) -> Passage:
    """As much of the passage as `form` and `labelled` show."""
    if not passage.name:
        return passage
    if config.form == "signature":
        return _text(heading(passage))
    if config.form == "first_sentence":
        passage = replace(passage, text=first_sentence(passage.text))
    return passage if config.labelled else _text(passage.text)


def present(passages: Iterable[Passage], config: Selection) -> tuple[Passage, ...]:
    """`passages`, best first, in the form and order in which prompts show them; joined to one text where
    they are not labelled."""
    shown = [formed(passage, config) for passage in passages]
    if config.order == "best_last":
        shown.reverse()
    if config.labelled or not shown:
        return tuple(shown)
    return (_text(" ".join(line(passage) for passage in shown)),)


def first_sentence(text: str) -> str:
    """Up to the first full stop, question or exclamation mark that ends a sentence."""
    end = SENTENCE_END.search(text)
    return text[: end.end()] if end else text


def _text(text: str) -> Passage:
    return Passage("", "", "", text)
