"""Prompts as a pure function of what is asked, found and shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from models.prompts import templates
from models.retrieval.forms import line
from models.types import Exemplar, Message, Passage

HintStyle = Literal["paper", "explain"]


def augmentation(request: str, seeds: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
    """Asks for one sentence on what `request` requires; seeds are (request, augmentation)."""
    return _chat(templates.AUGMENT, seeds, request)


def augmentations(requests: Sequence[str], seeds: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
    """Asks for one numbered sentence for each of several requests (the paper: 20 at a time)."""
    seeded = (_numbered([request for request, _ in seeds]), _numbered([answer for _, answer in seeds]))
    return _chat(templates.AUGMENT_ALL, [seeded] if seeds else [], _numbered(requests))


def rationale(
    request: str,
    passages: Sequence[Passage],
    exemplars: Sequence[Exemplar],
    hint: str | None = None,
    hint_style: HintStyle = "explain",
) -> tuple[Message, ...]:
    """Asks for the steps from request and documentation to code. `hint` is the right answer, given away
    after the last request only."""
    close = templates.REASON_CLOSE
    turns = [(_section(shown.request, shown.passages) + close, shown.rationale) for shown in exemplars]
    if hint is not None and hint_style == "paper":
        request += templates.HINT.format(answer=hint)
    elif hint is not None:
        close = templates.HINT_CLOSE.format(answer=hint)
    return _chat(templates.REASON, turns, _section(request, passages) + close)


def student_prompt(request: str, passages: Sequence[Passage], exemplars: Sequence[Exemplar]) -> str:
    """One text without a template: worked examples, then the request, in the same form."""
    shown = [
        f"{_section(exemplar.request, exemplar.passages)}\n{templates.ANSWER} {_worked(exemplar)}\n\n"
        for exemplar in exemplars
    ]
    return "".join(shown) + f"{_section(request, passages)}\n{templates.ANSWER}"


def example_query(request: str, augmentation: str) -> str:
    """The enhanced request: the terse one, then what it requires."""
    return f"{request.rstrip().rstrip('.')}. {augmentation}"


def _chat(system: str, turns: Sequence[tuple[str, str]], last: str) -> tuple[Message, ...]:
    messages = [Message("system", system)]
    for asked, answered in turns:
        messages += [Message("user", asked), Message("assistant", answered)]
    return (*messages, Message("user", last))


def _section(request: str, passages: Sequence[Passage]) -> str:
    documentation = "".join(f"{line(passage)}\n" for passage in passages)
    head = f"{templates.DOCUMENTATION}\n{documentation}\n" if documentation else ""
    return f"{head}{templates.QUERY} {request}"


def _worked(exemplar: Exemplar) -> str:
    return exemplar.rationale or templates.ANSWER_SENTENCE.format(answer=exemplar.answer)


def _numbered(lines: Sequence[str]) -> str:
    return "\n".join(f"{number}. {' '.join(line.split())}" for number, line in enumerate(lines, 1))
