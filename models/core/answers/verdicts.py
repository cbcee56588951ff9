"""Verdicts of judge models. Only known forms count; any other text is no verdict, and is asked for again.

    {"correct": true}            or {"verdict": "wrong"}, other keys beside it, at the end of the text, in a
                                 code fence or not
    Verdict: right               or Correct: No, at the end of the text
    wrong                        alone, or alone on the last line
    The given answer is wrong.   as the whole text

A text that doubts what its last word says, such as "far from correct", is no verdict.
"""

from __future__ import annotations

import json
import re
from typing import Any

from models.core.answers.checks import reject, usable_text
from models.core.types import Completion, Rejection

RIGHT = dict.fromkeys(("right", "correct", "yes", "true"), True)
WORDS = RIGHT | dict.fromkeys(("wrong", "incorrect", "no", "false"), False)
KEYS = ("correct", "verdict")
# After other lines, "yes" may answer "Is it wrong?", so these words count only as the whole text.
_ANSWERS = {"yes", "no", "true", "false"}
_MARKS = " \t*_`\"'“”#>.!"
_OBJECT = re.compile(r"^[ \t]*(?:```\w*[ \t]*)?(?=\{)", re.MULTILINE)
_LABEL = re.compile(
    r"(?:^|(?<=[.!?;])\s{1,3})[\W_]{0,6}(?:correct[*_]{0,4}\s?[:=]"
    r"|(?:the\s)?(?:final\s)?verdict[\s*_`]{0,6}(?:[:=]|is\b:?))",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"(?:the\s)?(?:given\s)?answer\sis\s(right|wrong|correct|incorrect)[.!]?", re.IGNORECASE
)
_DOUBT = re.compile(
    r"\b(?:no|not|never|none|neither|nor|cannot|without|partial\w*|part|parts|partly|half|almost|nearly|mostly"
    r"|somewhat|far|hardly|barely|scarcely|less|wrong|false|incorrect|inaccurate|untrue|fails?|failed|lacks"
    r"|but|however|except|unless|if|unsure|unclear)\b|n['’]t\b",
    re.IGNORECASE,
)


def parse_verdict(completion: Completion) -> bool | Rejection:
    """Tell if the judged answer is right."""
    text = usable_text(completion)
    if isinstance(text, Rejection) and text.reason != "truncated":
        return text
    written = (completion.text or "").strip()
    verdict = _of_object(written)
    # The last words of a truncated text may go on in another sense.
    if verdict is None and not isinstance(text, Rejection):
        sentence = _SENTENCE.fullmatch(written)
        verdict = WORDS[sentence[1].lower()] if sentence else _of_last_line(written)
    return reject("no_verdict", written) if verdict is None else verdict


def _of_object(text: str) -> bool | None:
    """Return the verdict of the JSON object that ends the text; None if its known keys do not agree."""
    text = text.removesuffix("```").rstrip()
    start = _OBJECT.search(text) if text.endswith("}") else None
    if start is None:
        return None
    try:
        pairs = json.loads(text[start.end() :], object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    given = {_value(value) for name, value in pairs if name.strip().lower() in KEYS}
    return given.pop() if len(given) == 1 else None


def _value(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return WORDS.get(value.strip(_MARKS).lower()) if isinstance(value, str) else None


def _of_last_line(text: str) -> bool | None:
    lines = [line.strip() for line in text.splitlines()]
    labels = [(line, list(_LABEL.finditer(line))[-1:]) for line in lines]
    verdicts = {_word(line[label.end() :], line[: label.start()]) for line, ends in labels for label in ends}
    if verdicts:
        return verdicts.pop() if len(verdicts) == 1 and labels[-1][1] else None
    before, word = "\n".join(lines[:-1]), lines[-1]
    if before and (word.strip(_MARKS).lower() in _ANSWERS or not _is_ended(before)):
        return None
    return _word(word, before)


def _is_ended(before: str) -> bool:
    """Tell if a sentence or a paragraph ends here."""
    return before.endswith("\n") or before.rstrip(" \t*_`\"'”")[-1:] in tuple(".!:;")


def _word(word: str, before: str) -> bool | None:
    """Return what a single word says; None if what stands before it takes a "right" back."""
    verdict = WORDS.get(word.strip(_MARKS).lower())
    return None if verdict and _DOUBT.search(before) else verdict
