"""Verdicts of a judge model: right or wrong, in its own words."""

from __future__ import annotations

import re

from models.answers.checks import check
from models.answers.reasons import reject
from models.types import Completion, Rejection

# "The correct answer is" says nothing of the given one.
_WORD = r"(?P<not>not\s+(?:quite\s+)?)?\b(?P<word>(?:correct|right)(?!\s+answer)|incorrect|wrong)\b"
_VERDICT = re.compile(rf"\bverdict\b[\s*:]*(?:is\b)?[\s*:]*{_WORD}", re.IGNORECASE)
_ANY = re.compile(_WORD, re.IGNORECASE)


def parse_verdict(completion: Completion) -> bool | Rejection:
    """Whether the judged answer is right: the word after the last "verdict", else the only one."""
    text = check(completion)
    if isinstance(text, Rejection) and text.reason != "truncated":
        return text
    text = completion.text or ""
    found = list(_VERDICT.finditer(text))[-1:] or list(_ANY.finditer(text))
    verdicts = {(each["word"].lower() in ("correct", "right")) != bool(each["not"]) for each in found}
    return verdicts.pop() if len(verdicts) == 1 else reject("no_verdict", text)
