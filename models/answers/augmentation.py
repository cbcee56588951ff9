"""Augmentations: "This requires ...", one to a reply or many to a numbered reply."""

from __future__ import annotations

import re

from models.answers.checks import check, repeats
from models.answers.reasons import reject
from models.types import Completion, Rejection

_REQUIRES = re.compile(r"\bthis requires\b", re.IGNORECASE)
_PARAGRAPH_END = re.compile(
    r"\n[ \t\r]*\n|\n[ \t#*]*(?:query|request|answer|rationale)[ \t*]*:", re.IGNORECASE
)
_ITEM = re.compile(
    r"""
      ^ [ \t*\#>-]* (?:(?:request|query|item)\s)? (\d{1,4}) [.):] \** (?=\s)
    | (?<=\s) (\d{1,4}) [.)] (?= \s ) (?= \W+ this\srequires \b )
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_OPENING = "*_\"'`“‘"
_CLOSING = str.maketrans("“‘", "”’")


def parse_augmentation(completion: Completion, request: str) -> str | Rejection:
    """What the request takes, on one line that starts with "This requires"."""
    text = check(completion)
    return text if isinstance(text, Rejection) else _augmentation(text, request)


def parse_augmentations(completion: Completion, requests: list[str]) -> list[str | Rejection]:
    """The items of a numbered reply, one for each request and in their order.

    A reply that cannot be used rejects every item. One that was cut off loses the item it ends in
    (`truncated`) and those after it (`missing`).
    """
    text = check(completion)
    cut = text if isinstance(text, Rejection) else None
    items = _items((completion.text or "") if isinstance(text, Rejection) else text, len(requests))
    if cut and (cut.reason != "truncated" or not items):
        return [cut] * len(requests)
    parsed = [
        _augmentation(items[number], request) if number in items else reject("missing", f"item {number}")
        for number, request in enumerate(requests, start=1)
    ]
    if cut:
        parsed[max(items) - 1] = cut
    return parsed


def _augmentation(text: str, request: str) -> str | Rejection:
    found = _REQUIRES.search(text)
    if found is None:
        return reject("parroted" if repeats(text, request) else "no_answer", text)
    paragraph = _PARAGRAPH_END.split(text[found.end() :], maxsplit=1)[0]
    # Blanks within a line stay: they may belong to a quoted string.
    line = " ".join(line.strip() for line in paragraph.strip().splitlines())
    body = _unwrapped(line, text[: found.start()]).strip(" :")
    if not any(char.isalnum() for char in body):
        return reject("no_answer", text)
    if repeats(body, request) or _inflects(body, request):
        return reject("parroted", text)
    return f"This requires {body}"


def _unwrapped(body: str, before: str) -> str:
    """`body` less the quote or emphasis that `before` opens, right before it or at its very start."""
    nearest = before[len(before.rstrip(_OPENING)) :]
    first = before.strip()[:1]
    for opened in (nearest, first if first in _OPENING else ""):
        closing = opened[::-1].translate(_CLOSING)
        unpaired = opened and sum(body.count(mark) for mark in {opened, closing}) % 2
        if unpaired and body.startswith(closing):
            return body.removeprefix(closing)
        if unpaired and body.endswith(closing):
            return body.removesuffix(closing)
    return body


def _inflects(body: str, request: str) -> bool:
    """Whether the body only inflects the request's verb: "sort the list", "sorting the list"."""
    told, asked = (text.lower().rstrip(".").split() for text in (body, request))
    return len(asked) > 3 and told[1:] == asked[1:] and told[0][:3] == asked[0][:3]


def _items(text: str, count: int) -> dict[int, str]:
    """The numbered parts of a reply, less numbers that nobody asked for."""
    marks = list(_ITEM.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    items: dict[int, str] = {}
    for mark, end in zip(marks, ends, strict=False):
        number, part = int(mark[1] or mark[2]), text[mark.end() : end]
        if 1 <= number <= count and (number not in items or not _REQUIRES.search(items[number])):
            items[number] = part
    return items or _unnumbered(text, count)


def _unnumbered(text: str, count: int) -> dict[int, str]:
    """The lines of a reply that dropped its numbers, if there are as many as were asked for."""
    if count == 1:
        return {1: text}
    lines = [line for line in text.splitlines() if _REQUIRES.search(line)]
    return dict(enumerate(lines, start=1)) if len(lines) == count else {}
