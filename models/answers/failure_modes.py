"""How synthetic rationales fail (paper, Figure 2, and after), told from the text alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from models.answers.checks import refuses, repeats
from models.extraction import answer_code, explanation
from models.judges import mentions_hint, without_hint
from models.syntax import parse

# What each mode says of a rationale, for people.
FAILURE_MODES: Mapping[str, str] = {
    "redundancy": "says the same sentence twice, or half of its words in phrases it has used before",
    "parroting": "repeats the request in place of reasoning",
    "no_code": 'nothing, or nothing that Python can parse, follows "The answer is"',
    "no_answer_sentence": '"The answer is" is missing',
    "hint_leak": "mentions the hint that it was given",
    "truncation": "ends in the middle of a sentence",
    "refusal": "declines to answer",
}
PHRASE = 6
REPEATED_SHARE = 0.5
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_ENDED = re.compile(r"[.!?:`'\")\]}]\s*\Z")


def failure_modes(text: str, request: str = "") -> list[str]:
    """Which of FAILURE_MODES `text`, the rationale for `request`, shows, in their order. Raises nothing."""
    request = without_hint(request)
    code = answer_code(text)
    found = {
        "redundancy": _is_redundant(explanation(text)),
        "parroting": bool(request) and repeats(explanation(text), request),
        "no_code": code is not None and parse(code or "(") is None,
        "no_answer_sentence": code is None,
        "hint_leak": mentions_hint(text, request),
        "truncation": code is None and bool(text.strip()) and not _ENDED.search(text),
        "refusal": refuses(text),
    }
    return [mode for mode in FAILURE_MODES if found[mode]]


def _is_redundant(text: str) -> bool:
    sentences = [" ".join(part.lower().split()) for part in _SENTENCE_END.split(text)]
    if any(times > 1 and len(part.split()) > 3 for part, times in Counter(sentences).items()):
        return True
    words = re.findall(r"\w+|[^\w\s]", text.lower())
    phrases = Counter(zip(*(words[start:] for start in range(PHRASE)), strict=False))
    again = phrases.total() - len(phrases)
    return again > REPEATED_SHARE * phrases.total()
