"""Parsers of model replies: augmentations, pairs of grown examples, and rationales."""

from __future__ import annotations

import re
from dataclasses import dataclass

from models.core.answers.checks import reject, usable_text
from models.core.answers.extraction import answer_code, before_next_example, explanation
from models.core.answers.hint_leaks import mentions_hint, without_hint
from models.core.answers.repetition import repeats_request
from models.core.programs import parse_python
from models.core.types import Completion, Rejection

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
_NUMBER = re.compile(r"^(?P<before>[ \t*#>-]*)(?P<number>\d{1,4})[.):]\**(?=\s)", re.MULTILINE)
_OPENING = "*_\"'`“‘"
_CLOSING = str.maketrans("“‘", "”’")


def parse_augmentation(completion: Completion, request: str, *, any_text: bool = False) -> str | Rejection:
    """Return what the request requires, on one line that starts with "This requires"; with `any_text` the
    first paragraph as it stands."""
    text = usable_text(completion)
    return text if isinstance(text, Rejection) else _augmentation(text, request, any_text)


def parse_augmentations(
    completion: Completion, requests: list[str], *, any_text: bool = False
) -> list[str | Rejection]:
    """Return the items of a numbered reply, one for each request and in their order.

    An unusable reply rejects every item. A truncated reply rejects its last item (`truncated`) and those
    after it (`missing`).
    """
    text = usable_text(completion)
    cut = text if isinstance(text, Rejection) else None
    items = _items((completion.text or "") if isinstance(text, Rejection) else text, len(requests))
    if cut and (cut.reason != "truncated" or not items):
        return [cut] * len(requests)
    parsed = [
        _augmentation(items[number], request, any_text)
        if number in items
        else reject("missing", f"item {number}")
        for number, request in enumerate(requests, start=1)
    ]
    if cut:
        parsed[max(items) - 1] = cut
    return parsed


def numbered_items(completion: Completion, count: int) -> list[str | Rejection]:
    """Return the items of a numbered reply, one for each of `count` and in their order.

    An unusable reply rejects every item, a truncated one its last item and those that are missing.
    """
    cut = usable_text(completion)
    if isinstance(cut, Rejection) and cut.reason != "truncated":
        return [cut] * count
    text = completion.text or ""
    marks = _item_marks(text, count)
    numbers = [int(mark["number"]) for mark in marks]
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    texts = [text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
    items = dict(zip(numbers, texts, strict=True))
    parsed: list[str | Rejection] = [
        items.get(number) or reject("missing", f"item {number}") for number in range(1, count + 1)
    ]
    if isinstance(cut, Rejection) and numbers:
        parsed[numbers[-1] - 1] = cut
    return parsed


def _item_marks(text: str, count: int) -> list[re.Match[str]]:
    """Return the numbers that begin items: each follows on those before, and stands as the first does.

    Others are within an item, such as those of a list.
    """
    marks: list[re.Match[str]] = []
    for mark in _NUMBER.finditer(text):
        last = int(marks[-1]["number"]) if marks else 0
        if last < int(mark["number"]) <= count and (not marks or mark["before"] == marks[0]["before"]):
            marks.append(mark)
    return marks


def _augmentation(text: str, request: str, any_text: bool) -> str | Rejection:
    if any_text:
        return _first_paragraph(text.strip()) or reject("empty", text)
    opening = _REQUIRES.search(text)
    if opening is None:
        return reject("parroted" if repeats_request(text, request) else "no_answer", text)
    line = _first_paragraph(text[opening.end() :])
    body = _without_quotes(line, text[: opening.start()]).strip(" :")
    if not any(char.isalnum() for char in body):
        return reject("no_answer", text)
    if repeats_request(body, request) or _inflects(body, request):
        return reject("parroted", text)
    return f"This requires {body}"


def _first_paragraph(text: str) -> str:
    """Return it as one line. Blanks within a line stay: they may belong to a quoted string."""
    paragraph = _PARAGRAPH_END.split(text, maxsplit=1)[0]
    return " ".join(line.strip() for line in paragraph.strip().splitlines())


def _without_quotes(body: str, before: str) -> str:
    """Remove the end of a quote or emphasis that `before` opens, at its end or at its very start."""
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
    """Tell if the body only inflects the request's verb: "sort the list", "sorting the list"."""
    answered, asked = (text.lower().rstrip(".").split() for text in (body, request))
    return len(asked) > 3 and answered[1:] == asked[1:] and answered[0][:3] == asked[0][:3]


def _items(text: str, count: int) -> dict[int, str]:
    """Return the numbered parts of a reply, without unexpected numbers."""
    marks = list(_ITEM.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    items: dict[int, str] = {}
    for mark, end in zip(marks, ends, strict=False):
        number, part = int(mark[1] or mark[2]), text[mark.end() : end]
        if 1 <= number <= count and (number not in items or not _REQUIRES.search(items[number])):
            items[number] = part
    return items or _unnumbered(text, count)


def _unnumbered(text: str, count: int) -> dict[int, str]:
    """Return the lines of a reply without numbers, if their count is right."""
    if count == 1:
        return {1: text}
    lines = [line for line in text.splitlines() if _REQUIRES.search(line)]
    return dict(enumerate(lines, start=1)) if len(lines) == count else {}


# "Request:" at the start of a line, with any numbers or emphasis.
_LABEL = re.compile(
    r"^[ \t]*(?:[#>*-]+[ \t]*|\d{1,3}[.)][ \t]*)*(?:\*\*|__)?(?P<label>request|answer)[ \t]*(?:\#?\d{1,3})?"
    r"(?:\*\*|__)?[ \t]*:[ \t]*(?:\*\*|__)?[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_FENCE = re.compile(r"\A```[\w+-]*[ \t]*\n(?P<code>.*?)\n?[ \t]*```\Z", re.DOTALL)
_QUOTED = re.compile(r"\A`(?P<code>[^`\n]+)`\Z")


@dataclass(frozen=True, slots=True)
class Pair:
    """A grown example. `flaw` is `no_request`, `no_answer` or `truncated`, empty if it can be used."""

    request: str
    answer: str
    flaw: str = ""


def parse_pairs(completion: Completion) -> tuple[Pair, ...] | Rejection:
    """Return all pairs of the reply in order, at least one of which can be used.

    The last pair of a truncated reply cannot be used. An answer may have several lines; a code fence or
    backquotes around all of it are removed.
    """
    text = usable_text(completion)
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
        part = text[mark.end() : end].strip()
        if mark["label"].lower() == "request":
            if asked is not None:
                pairs.append(_pair(asked, ""))
            asked = part
        else:
            pairs.append(_pair(asked or "", part))
            asked = None
    if asked is not None:
        pairs.append(_pair(asked, ""))
    return pairs


def _pair(request: str, answer: str) -> Pair:
    # Blanks within a line stay: they may belong to a quoted string.
    request = " ".join(line.strip() for line in request.splitlines() if line.strip())
    answer = _without_decoration(answer)
    return Pair(request, answer, "no_request" if not request else "no_answer" if not answer else "")


def _without_decoration(answer: str) -> str:
    """Remove rulers between pairs, a code fence, and backquotes."""
    lines = answer.rstrip().splitlines()
    while lines and not lines[-1].strip("-=*# \t"):
        lines.pop()
    text = "\n".join(line.rstrip() for line in lines).strip()
    code = _FENCE.match(text) or _QUOTED.match(text)
    return code["code"].strip() if code else text


@dataclass(frozen=True, slots=True)
class ParsedRationale:
    """A chain of thought with its answer sentence, and the code that it ends in."""

    text: str
    code: str


def parse_rationale(completion: Completion, request: str, hinted: bool) -> ParsedRationale | Rejection:
    """Return the rationale and its code, without a next example that the model invents.

    `request` may contain the hint; `hinted` tells if a hint was given.
    """
    text = usable_text(completion)
    if isinstance(text, Rejection):
        return text
    text = before_next_example(text.strip()).rstrip()
    code, request = answer_code(text), without_hint(request)
    if hinted and mentions_hint(text, request):
        return reject("hint_leak", text)
    # A request may be code itself; then repeating it is an answer.
    if repeats_request(explanation(text), request) or (
        code and repeats_request(code, request) and not parse_python(code)
    ):
        return reject("parroted", text)
    if code is None:
        return reject("no_answer", text, end=True)
    if not code:
        return reject("no_code", text, end=True)
    return ParsedRationale(text, code)
