"""Grown examples: pairs of `Request:` and `Answer:`, as many as a reply holds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from models.answers.checks import check
from models.answers.reasons import reject
from models.types import Completion, Rejection

# "Request:" at the start of a line, however a model numbers or emphasises it.
_LABEL = re.compile(
    r"^[ \t]*(?:[#>*-]+[ \t]*|\d{1,3}[.)][ \t]*)*(?:\*\*|__)?(?P<label>request|answer)[ \t]*(?:\#?\d{1,3})?"
    r"(?:\*\*|__)?[ \t]*:[ \t]*(?:\*\*|__)?[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_FENCE = re.compile(r"\A```[\w+-]*[ \t]*\n(?P<code>.*?)\n?[ \t]*```\Z", re.DOTALL)
_QUOTED = re.compile(r"\A`(?P<code>[^`\n]+)`\Z")


@dataclass(frozen=True, slots=True)
class Pair:
    """`flaw` says why it cannot be used: `no_request`, `no_answer` or `truncated`; empty where it can."""

    request: str
    answer: str
    flaw: str = ""


def parse_pairs(completion: Completion) -> tuple[Pair, ...] | Rejection:
    """All pairs of the reply, in order, at least one of which can be used. Of a reply that was cut off the
    last pair cannot. An answer may have several lines; a code fence or backquotes around all of it go."""
    text = check(completion)
    cut = text if isinstance(text, Rejection) else None
    if cut and cut.reason != "truncated":
        return cut
    pairs = _pairs(completion.text or "")
    if cut and pairs:
        pairs[-1] = Pair(pairs[-1].request, pairs[-1].answer, "truncated")
    if all(pair.flaw for pair in pairs):
        return cut or reject("no_pairs", completion.text or "")
    return tuple(pairs)


def _pairs(text: str) -> list[Pair]:
    marks = list(_LABEL.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    pairs: list[Pair] = []
    asked: str | None = None
    for mark, end in zip(marks, ends, strict=True):
        said = text[mark.end() : end].strip()
        if mark["label"].lower() == "request":
            if asked is not None:
                pairs.append(_pair(asked, ""))
            asked = said
        else:
            pairs.append(_pair(asked or "", said))
            asked = None
    if asked is not None:
        pairs.append(_pair(asked, ""))
    return pairs


def _pair(request: str, answer: str) -> Pair:
    """A request is one line; blanks within a line stay: they may belong to a quoted string."""
    asked = " ".join(line.strip() for line in request.splitlines() if line.strip())
    answered = _bare(answer)
    flaw = "no_request" if not asked else "no_answer" if not answered else ""
    return Pair(asked, answered, flaw)


def _bare(answer: str) -> str:
    """Less what sets it off: rulers between pairs, a fence, backquotes."""
    lines = answer.rstrip().splitlines()
    while lines and not lines[-1].strip("-=*# \t"):
        lines.pop()
    said = "\n".join(line.rstrip() for line in lines).strip()
    found = _FENCE.match(said) or _QUOTED.match(said)
    return found["code"].strip() if found else said
