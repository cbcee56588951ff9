"""Prompts as a pure function of what is asked, found and shown, in the words of a task folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from models.prompts.templates import Template, compiled
from models.retrieval.forms import heading, line
from models.task_folder import TaskFolder
from models.types import Exemplar, Message, Passage

HintStyle = Literal["paper", "explain"]


class Wording:
    """The templates of a task folder. Whatever renders raises TaskFolderError."""

    def __init__(self, folder: TaskFolder) -> None:
        self.folder = folder

    def augmentation(self, request: str, seeds: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
        """Asks for one sentence on what `request` requires; seeds are (request, augmentation)."""
        template = self._template("augment")
        turns = [(template.render("user", request=asked), answered) for asked, answered in seeds]
        return _chat(template.render("system"), turns, template.render("user", request=request))

    def augmentations(self, requests: Sequence[str], seeds: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
        """Asks for one numbered sentence for each of several requests (the paper: 20 at a time)."""
        template = self._template("augment")
        seeded = (_numbered([request for request, _ in seeds]), _numbered([answer for _, answer in seeds]))
        return _chat(template.render("many"), [seeded] if seeds else [], _numbered(requests))

    def rationale(
        self,
        request: str,
        passages: Sequence[Passage],
        exemplars: Sequence[Exemplar],
        hint: str | None = None,
        hint_style: HintStyle = "explain",
    ) -> tuple[Message, ...]:
        """Asks for the steps from request and documentation to the answer. `hint` is the right answer, given
        away with the last request only."""
        template = self._template("rationale")

        def turn(request: str, passages: Sequence[Passage], hint: str | None) -> str:
            shown = [_shown(passage) for passage in passages]
            return template.render("user", request=request, passages=shown, hint=hint, hint_style=hint_style)

        turns = [(turn(shown.request, shown.passages, None), shown.rationale) for shown in exemplars]
        return _chat(template.render("system"), turns, turn(request, passages, hint))

    def student_prompt(self, request: str, passages: Sequence[Passage], exemplars: Sequence[Exemplar]) -> str:
        """One text without a template of turns: worked examples, then the request, in the same form."""
        template = self._template("answer")

        def turn(request: str, passages: Sequence[Passage]) -> str:
            return template.render("user", request=request, passages=[_shown(each) for each in passages])

        def worked(exemplar: Exemplar) -> str:
            return template.render("worked", answer=exemplar.answer, rationale=exemplar.rationale)

        shown = [f"{turn(each.request, each.passages)} {worked(each)}\n\n" for each in exemplars]
        return "".join(shown) + turn(request, passages)

    def verdict(self, request: str, answer: str, reference: str) -> tuple[Message, ...]:
        """Asks a judge whether `answer` says what `reference` says."""
        template = self._template("verdict")
        asked = template.render("user", request=request, answer=answer, reference=reference)
        return _chat(template.render("system"), [], asked)

    def growth(self, shown: Sequence[tuple[str, str]], count: int) -> tuple[Message, ...]:
        """Asks for `count` new requests with their answers; `shown` are (request, answer)."""
        template = self._template("grow")
        examples = [template.render("shown", request=request, answer=answer) for request, answer in shown]
        asked = "\n\n".join((*examples, template.render("user", count=count)))
        return _chat(template.render("system"), [], asked)

    def _template(self, name: str) -> Template:
        return compiled(name, getattr(self.folder.prompts, name))


def example_query(request: str, augmentation: str) -> str:
    """The enhanced request: the terse one, then what it requires."""
    return f"{request.rstrip().rstrip('.')}. {augmentation}"


def _chat(system: str, turns: Sequence[tuple[str, str]], last: str) -> tuple[Message, ...]:
    messages = [Message("system", system)]
    for asked, answered in turns:
        messages += [Message("user", asked), Message("assistant", answered)]
    return (*messages, Message("user", last))


def _shown(passage: Passage) -> dict[str, Any]:
    arguments = heading(passage).removeprefix(passage.name.removesuffix("()")) if passage.name else ""
    return {"line": line(passage), "name": passage.name, "signature": arguments, "text": passage.text}


def _numbered(lines: Sequence[str]) -> str:
    return "\n".join(f"{number}. {' '.join(line.split())}" for number, line in enumerate(lines, 1))
