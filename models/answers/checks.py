"""Checks that every answer has to pass, whatever was asked."""

from __future__ import annotations

import re

from models.answers.reasons import reject
from models.extraction import answer_code
from models.types import MALFORMED, Completion, Rejection

_HTML = re.compile(r"\s*\ufeff?(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_CANNOT = r"(?:can't|cannot|can\snot|won't|will\snot|unable|not\sable|(?:must|have\sto)\sdecline)"
_REFUSAL = re.compile(
    rf"""
    \W* (?:
        as \s an? \s (?:ai|artificial\sintelligence|(?:large\s)?language\smodel) \b
      | (?:i'm|i\sam) \s (?:\w+\s)? (?:sorry|afraid) \b .{{0,120}}? \b (?:{_CANNOT}|not\ssomething\si) \b
      | (?:sorry|(?:my\s|i\s)?apolog\w+|unfortunately) \b .{{0,60}}? \b i(?:'m|\sam)? \s {_CANNOT} \b
      | i(?:'m|\sam)? \s {_CANNOT} \b .{{0,40}}? \b
        (?:help|assist|provide|comply|fulfil|answer|generate|create|complete|write|do\sth|discuss|continue)
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)


def check(completion: Completion) -> str | Rejection:
    """The text as the model wrote it, or why no stage can take it.

    The hard reasons come first; `truncated` is soft, and `completion.text` then still holds the text.
    """
    if rejection := _unusable(completion):
        return rejection
    text = completion.text or ""
    return reject("truncated", text, end=True) if completion.finish_reason == "length" else text


def repeats(text: str, request: str) -> bool:
    """Whether `text` says no other words than `request`, or than one of its two sentences."""
    said = _words(text)
    original, _, augmentation = request.partition("This requires")
    return bool(said) and said in (_words(request), _words(original), _words(augmentation))


def refuses(text: str) -> bool:
    """Whether `text` declines to answer, and names no code after all."""
    start = " ".join(text[:400].split()).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return bool(_REFUSAL.match(start)) and not answer_code(text)


def _unusable(completion: Completion) -> Rejection | None:
    text, ended = completion.text, completion.finish_reason
    if completion.refusal or ended == "content_filter":
        return reject("refusal", completion.refusal or text or f"finish_reason {ended}")
    if ended == MALFORMED:
        return reject("html" if _HTML.match(text or "") else "malformed", text or "")
    if text is None:
        return reject("null", f"finish_reason {ended}")
    if not any(char.isprintable() and not char.isspace() for char in text):
        return reject("empty", f"finish_reason {ended}")
    if _HTML.match(text):
        return reject("html", text)
    return reject("refusal", text) if refuses(text) else None


def _words(text: str) -> list[str]:
    words: list[str] = re.findall(r"\w+", text.lower())
    return words[1:] if words[:1] in (["request"], ["query"]) else words
