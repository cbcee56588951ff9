"""Checks of answers: the reasons to reject one, and the ways in which rationales fail (paper, Figure 2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from models.core.answers.extraction import answer_code
from models.core.answers.hint_leaks import mentions_hint, without_hint
from models.core.answers.repetition import is_parroted, is_redundant
from models.core.programs import parse_python
from models.core.types import MALFORMED, Completion, Rejection

EXCERPT = 200


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason to reject an answer. `soft`: there is a text, but a bad one; otherwise there is nothing to
    use. `final`: the same request would be answered the same way, so it is not paid for again."""

    soft: bool
    description: str
    final: bool = False


REASONS: Mapping[str, Reason] = {
    "null": Reason(False, "the provider sent no content"),
    "empty": Reason(False, "the answer is blank"),
    "refusal": Reason(False, "the model or its content filter refused"),
    "limit_used_up": Reason(
        False, "nothing but reasoning came before the token limit; raise max_completion_tokens", final=True
    ),
    "html": Reason(False, "an HTML page came instead of an answer"),
    "malformed": Reason(False, "the server sent something that is no completion"),
    "missing": Reason(False, "the numbered reply leaves this item out"),
    "truncated": Reason(True, "the answer was cut off at the token limit"),
    "no_answer": Reason(True, 'the sentence asked for is missing ("The answer is", "This requires")'),
    "no_pairs": Reason(True, 'no "Request:" with its "Answer:" is in the reply'),
    "no_code": Reason(True, 'no code is in the answer, or nothing follows "The answer is"'),
    "parroted": Reason(True, "the answer merely repeats the request"),
    "no_verdict": Reason(True, "the judge says neither that the answer is right nor that it is wrong"),
    "no_json": Reason(True, "no JSON is in the answer"),
    "schema": Reason(True, "the JSON does not fit the schema"),
    "no_score": Reason(True, "the judge gives no score, or one out of its range"),
    "words": Reason(True, "the answer has too few or too many words"),
    "pattern": Reason(True, "the answer does not match the pattern that is asked for"),
    "hint_leak": Reason(True, "the rationale mentions the hint it was given"),
}


def reject(reason: str, text: str, *, end: bool = False) -> Rejection:
    """Return a rejection whose detail shows the start of `text`, or its `end`, on one printable line."""
    line = " ".join(text[-2 * EXCERPT :].split() if end else text[: 2 * EXCERPT].split())
    shown = line[-EXCERPT:] if end else line[:EXCERPT]
    return Rejection(
        reason, "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in shown)
    )


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


LIMIT_USED_UP = "limit_used_up"
_RAISE_LIMIT = (
    "the token limit was used up before the answer began: raise max_completion_tokens (or max_tokens)"
)


def usable_text(completion: Completion) -> str | Rejection:
    """Return the model's text, or the reason why no stage can use it.

    Hard reasons come first; `truncated` is soft, and `completion.text` still has the text.
    """
    if rejection := _unusable(completion):
        return rejection
    text = completion.text or ""
    return reject("truncated", text, end=True) if completion.finish_reason == "length" else text


def is_refusal(text: str) -> bool:
    """Tell if `text` declines to answer and contains no code."""
    start = " ".join(text[:400].split()).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return bool(_REFUSAL.match(start)) and not answer_code(text)


def _unusable(completion: Completion) -> Rejection | None:
    text, ended = completion.text, completion.finish_reason
    if completion.refusal or ended == "content_filter":
        return reject("refusal", completion.refusal or text or f"finish_reason {ended}")
    if ended == MALFORMED:
        return reject("html" if _HTML.match(text or "") else "malformed", text or "")
    if text is None or is_blank(text):
        if ended == "length":
            return Rejection(LIMIT_USED_UP, f"{_RAISE_LIMIT}; {_thought(completion)}")
        return reject("null" if text is None else "empty", f"finish_reason {ended}")
    if _HTML.match(text):
        return reject("html", text)
    return reject("refusal", text) if is_refusal(text) else None


def is_blank(text: str | None) -> bool:
    """Tell if `text` has nothing that can be read."""
    return not any(char.isprintable() and not char.isspace() for char in text or "")


def _thought(completion: Completion) -> str:
    usage = completion.usage
    thought = usage.reasoning or (usage.completion if completion.reasoning else 0)
    return f"{usage.completion} tokens were written" + f", {thought} of them reasoning" * bool(thought)


# A description of each mode, in plain words.
FAILURE_MODES: Mapping[str, str] = {
    "redundancy": "says nearly the same in two sentences, or half of its words in phrases it has used before",
    "parroting": "says hardly more than the request in place of reasoning",
    "no_code": 'nothing, or nothing that Python can parse, follows "The answer is"',
    "no_answer_sentence": '"The answer is" is missing',
    "hint_leak": "mentions the hint that it was given",
    "truncation": "ends in the middle of a sentence",
    "refusal": "declines to answer",
}
_ENDED = re.compile(r"[.!?:`'\")\]}]\s*\Z")


def failure_modes(text: str, request: str = "") -> list[str]:
    """Return the FAILURE_MODES of `text`, the rationale for `request`, in their order. Raise nothing."""
    request = without_hint(request)
    code = answer_code(text)
    shown = {
        "redundancy": is_redundant(text),
        "parroting": bool(request) and is_parroted(text, request),
        "no_code": code is not None and parse_python(code or "(") is None,
        "no_answer_sentence": code is None,
        "hint_leak": mentions_hint(text, request),
        "truncation": code is None and bool(text.strip()) and not _ENDED.search(text),
        "refusal": is_refusal(text),
    }
    return [mode for mode in FAILURE_MODES if shown[mode]]
