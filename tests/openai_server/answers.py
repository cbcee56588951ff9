"""Answers of the test server: short texts of the right form, the same for the same words.

The request is found from the end of the prompt backwards. With references its code is right for about
half of the requests, and for every request that carries its answer as a hint.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HINT = re.compile(
    r"(?:\(Hint: the answer is (?P<told>.*)\)|\bwhy the answer is (?P<asked>.*))", re.IGNORECASE
)
GROWN = re.compile(r"^Write (\d+) more examples", re.MULTILINE)
SHOWN = re.compile(r"^Request: (.*)\nAnswer: (.*)", re.MULTILINE)
JUDGED = re.compile(r"^Right answer: (?P<right>.*)\nGiven answer: (?P<given>.*)", re.MULTILINE)
SCORED = re.compile(r'"score": N\}, N being a number from (?P<least>\d+) to (?P<most>\d+)\.\s*\Z')
ITEM = re.compile(r"^\s*(?:query |request )?(\d+)[.):]\s+(.*\S)", re.IGNORECASE | re.MULTILINE)
LABEL = re.compile(r"^[\s*#-]*(?:\d+[.):]\s+)?(?:[A-Za-z][\w ]{0,20}:\s*)?")
GUESSES = ("sorted(values)", "open(path).read()", "dict(zip(keys, values))", "re.findall(pattern, text)")


class Answers:
    """`references` maps a request to its code; without them the code is one of GUESSES."""

    def __init__(self, references: Mapping[str, str] | None = None) -> None:
        self._references = {_bare(request): code for request, code in (references or {}).items()}
        self._codes = tuple(self._references.values()) or GUESSES

    @classmethod
    def load(cls, path: Path) -> Answers:
        """From a JSONL of `request, reference`."""
        with path.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines if line.strip()]
        return cls({row["request"]: row["reference"] for row in rows})

    def answer(self, text: str, salt: str = "") -> str:
        """`text` is the prompt, or the messages joined; `salt` varies the answer to the same words."""
        if scored := SCORED.search(text):
            least, most = int(scored["least"]), int(scored["most"])
            number = int(hashlib.sha256((text + salt).encode()).hexdigest(), 16)
            return json.dumps(
                {"reason": "It says what it does.", "score": least + number % (most - least + 1)}
            )
        if judged := JUDGED.search(text):
            return f"Verdict: {'correct' if judged['right'] == judged['given'] else 'wrong'}"
        if grown := GROWN.search(text):
            return _grown(text, int(grown[1]), salt)
        # A prompt for augmentations shows how they start; one for code shows how its answers end.
        if "This requires" in text and "the answer is" not in text.lower():
            return _augmentation(text)
        request = self._request(text)
        code = self._code(text, request, salt)
        return f"The values are taken as they come. {code} does what was asked. The answer is {code}"

    def refusal(self, body: Mapping[str, Any], text: str) -> str:
        """Return why a call is refused, or an empty text."""
        return ""

    def _code(self, text: str, request: str, salt: str) -> str:
        if hint := HINT.search(text, max(0, text.rfind(request))):
            return hint["told"] or hint["asked"]
        number = int(hashlib.sha256((request + salt).encode()).hexdigest(), 16)
        reference = self._references.get(request)
        if reference is not None and number % 2:
            return reference
        guess = self._codes[number // 2 % len(self._codes)]
        return guess if guess != reference else f"{guess} or None"

    def _request(self, text: str) -> str:
        """The request that is asked last; a line that is none where no request is known."""
        last = ""
        for line in _lines_from_end(text):
            if line in self._references:
                return line
            last = last or line
        # Rare: a request of several lines, or one quoted inside a sentence.
        known = max(self._references, key=lambda request: (text.rfind(request), len(request)), default=last)
        return known if known in text else last


def _lines_from_end(text: str) -> Iterator[str]:
    """Each line less its label, its hint and its augmentation."""
    for line in reversed(text.splitlines()):
        if bare := _bare(HINT.sub("", line).partition(" This requires ")[0]):
            yield bare
            yield LABEL.sub("", bare, count=1)


def _bare(request: str) -> str:
    """Without the full stop that a prompt may add or take away."""
    return request.strip().rstrip(".")


def _augmentation(text: str) -> str:
    """One sentence, or one for each item of the numbered list that the text ends in."""
    items = _last_list(text)
    if len(items) > 1:
        return "\n".join(f"{number}. {_requires(item)}" for number, item in items)
    return _requires(next(_lines_from_end(text), ""))


def _last_list(text: str) -> list[tuple[str, str]]:
    items = ITEM.findall(text)
    starts = [index for index, (number, _) in enumerate(items) if number == "1"]
    return items[starts[-1] :] if starts else []


def _requires(request: str) -> str:
    names = re.findall(r"`[^`]+`|'[^']+'", request)
    given = f", given {' and '.join(names)}" if names else ""
    return f"This requires one expression of the standard library whose value is wanted{given}."


def _grown(text: str, count: int, salt: str) -> str:
    """Return in turn a new pair, a similar copy of an example of the prompt, an exact copy, and a request
    without an answer."""
    shown = SHOWN.findall(text)
    pairs = []
    for index in range(count):
        digest = hashlib.sha256(f"{text}{salt}{index}".encode()).hexdigest()
        request, answer = shown[index // 4 % len(shown)]
        match index % 4:
            case 0:
                new = " ".join(digest[start : start + 5] for start in range(0, 40, 5))
                pairs.append(f"Request: {new}\nAnswer: f({digest[:4]})")
            case 1:
                pairs.append(f"Request: please {request}\nAnswer: {answer}")
            case 2:
                pairs.append(f"Request: {request}\nAnswer: {answer}")
            case _:
                pairs.append(f"Request: {digest[:8]} and nothing else")
    return "\n\n".join(pairs)
