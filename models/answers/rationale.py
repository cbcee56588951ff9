"""Rationales: a chain of thought that ends in "The answer is CODE"."""

from __future__ import annotations

from dataclasses import dataclass

from models.answers.checks import check, repeats
from models.answers.reasons import reject
from models.extraction import answer_code, explanation, own_part
from models.judges import mentions_hint, without_hint
from models.syntax import parse
from models.types import Completion, Rejection


@dataclass(frozen=True, slots=True)
class Rationale:
    """A chain of thought, its answer sentence included, and the code it ends in."""

    text: str
    code: str


def parse_rationale(completion: Completion, request: str, hinted: bool) -> Rationale | Rejection:
    """The rationale and its code. A next example that the model goes on to invent is cut off.

    `request` is what was asked, with or without the hint; `hinted` says whether there was one.
    """
    text = check(completion)
    if isinstance(text, Rejection):
        return text
    text = own_part(text.strip()).rstrip()
    code, request = answer_code(text), without_hint(request)
    if hinted and mentions_hint(text, request):
        return reject("hint_leak", text)
    # A request may be code itself; then repeating it is an answer.
    if repeats(explanation(text), request) or (code and repeats(code, request) and not parse(code)):
        return reject("parroted", text)
    if code is None:
        return reject("no_answer", text, end=True)
    if not code:
        return reject("no_code", text, end=True)
    return Rationale(text, code)
