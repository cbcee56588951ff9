"""Prompts rendered with the templates of a task folder, cut to a model's context, in a student's prompt
format."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from models.core.experiment.endpoints import PromptFormat
from models.core.experiment.task_folder import TaskFolder
from models.core.prompts.templates import Template, compile_template
from models.core.retrieval.passage_selection import passage_heading, passage_line
from models.core.types import Exemplar, Message, Passage

HintStyle = Literal["paper", "explain"]
Columns = Mapping[str, Any]
NO_COLUMNS: Columns = MappingProxyType({})


class PromptRenderer:
    """Renders prompts with the templates of a task folder. Every method raises TaskFolderError."""

    def __init__(self, folder: TaskFolder) -> None:
        self.folder = folder

    def augmentation(self, request: str, seeds: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
        """Ask for one sentence on what `request` requires; seeds are (request, augmentation)."""
        template = self._template("augment")
        turns = [(template.render("user", request=asked), answered) for asked, answered in seeds]
        return _chat(template.render("system"), turns, template.render("user", request=request))

    def augmentations(self, requests: Sequence[str], seeds: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
        """Ask for one numbered sentence for each of several requests (the paper: 20 at a time)."""
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
        columns: Columns = NO_COLUMNS,
    ) -> tuple[Message, ...]:
        """Ask for the steps from request and documentation to the answer. `hint` is the right answer, shown
        with the last request only; `columns` are those of the request's row."""
        template = self._template("rationale")

        def turn(request: str, passages: Sequence[Passage], hint: str | None, columns: Columns) -> str:
            fields = {"request": request, "passages": [_fields(passage) for passage in passages]}
            return template.render("user", columns, hint=hint, hint_style=hint_style, **fields)

        turns = [
            (turn(each.request, each.passages, None, each.columns), each.rationale) for each in exemplars
        ]
        return _chat(template.render("system"), turns, turn(request, passages, hint, columns))

    def student_prompt(
        self,
        request: str,
        passages: Sequence[Passage],
        exemplars: Sequence[Exemplar],
        columns: Columns = NO_COLUMNS,
    ) -> str:
        """Return one text without turns: worked examples, then the request, in the same form."""
        template = self._template("answer")

        def turn(request: str, passages: Sequence[Passage], columns: Columns) -> str:
            fields = [_fields(each) for each in passages]
            return template.render("user", columns, request=request, passages=fields)

        def worked(shown: Exemplar) -> str:
            return template.render("worked", shown.columns, answer=shown.answer, rationale=shown.rationale)

        shown = [
            f"{turn(each.request, each.passages, each.columns)} {worked(each)}\n\n" for each in exemplars
        ]
        return "".join(shown) + turn(request, passages, columns)

    def verdict(
        self, request: str, answer: str, reference: str, columns: Columns = NO_COLUMNS
    ) -> tuple[Message, ...]:
        """Ask a judge if `answer` means the same as `reference`."""
        template = self._template("verdict")
        question = template.render("user", columns, request=request, answer=answer, reference=reference)
        return _chat(template.render("system"), [], question)

    def growth(self, shown: Sequence[tuple[str, str]], count: int) -> tuple[Message, ...]:
        """Ask for `count` new requests with their answers; `shown` are (request, answer)."""
        template = self._template("grow")
        examples = [template.render("shown", request=request, answer=answer) for request, answer in shown]
        question = "\n\n".join((*examples, template.render("user", count=count)))
        return _chat(template.render("system"), [], question)

    def training_prompt(
        self, request: str, passages: Sequence[Passage], columns: Columns = NO_COLUMNS
    ) -> tuple[Message, ...]:
        """Return what a student is trained on: the template `export`, or else what a teacher is asked."""
        if not self.folder.prompts.export:
            return self.rationale(request, passages, [], columns=columns)
        template, fields = self._template("export"), [_fields(each) for each in passages]
        system = [Message("system", template.render("system"))] if template.has("system") else []
        asked = template.render("user", columns, request=request, passages=fields)
        return (*system, Message("user", asked))

    def training_answer(self, rationale: str, answer: str, columns: Columns = NO_COLUMNS) -> str:
        """Return what a student is trained to answer: the rationale, unless `export` has another form."""
        template = self._template("export") if self.folder.prompts.export else None
        if template is None or not template.has("assistant"):
            return rationale
        return template.render("assistant", columns, rationale=rationale, answer=answer)

    def _template(self, name: str) -> Template:
        return compile_template(name, getattr(self.folder.prompts, name))


def augmented_request(request: str, augmentation: str) -> str:
    """Return the augmented request: the request, then what it requires."""
    return f"{request.rstrip().rstrip('.')}. {augmentation}"


def _chat(system: str, turns: Sequence[tuple[str, str]], last: str) -> tuple[Message, ...]:
    messages = [Message("system", system)]
    for asked, answered in turns:
        messages += [Message("user", asked), Message("assistant", answered)]
    return (*messages, Message("user", last))


def _fields(passage: Passage) -> dict[str, Any]:
    arguments = passage_heading(passage).removeprefix(passage.name.removesuffix("()")) if passage.name else ""
    return {"line": passage_line(passage), "name": passage.name, "signature": arguments, "text": passage.text}


def _numbered(lines: Sequence[str]) -> str:
    return "\n".join(f"{number}. {' '.join(line.split())}" for number, line in enumerate(lines, 1))


@dataclass(frozen=True, slots=True)
class Extent:
    """The extent of a prompt: the number of the request's best `passages`, and the number of best passages of
    each of the first `exemplars`."""

    passages: int
    exemplars: tuple[int, ...] = ()


def shrink(whole: Extent) -> list[Extent]:
    """Return `whole`, then the rest after each drop, down to the request alone.

    Documentation of exemplars is dropped first, since it only shows a form; then that of the request, then
    exemplars. The passage of the lowest rank goes first, and the exemplar that was drawn last.
    """
    extents = [whole]
    exemplars = list(whole.exemplars)
    for index in reversed(range(len(exemplars))):
        for count in reversed(range(exemplars[index])):
            exemplars[index] = count
            extents.append(Extent(whole.passages, tuple(exemplars)))
    extents += [Extent(count, tuple(exemplars)) for count in reversed(range(whole.passages))]
    extents += [Extent(0, tuple(exemplars[:count])) for count in reversed(range(len(exemplars)))]
    return extents


def first_that_fits(extents: Sequence[Extent], fits: Callable[[Extent], bool]) -> int:
    """Return the index of the first extent that fits, or their number if none does. Few are tried: all after
    one that fits are taken to fit."""
    return 0 if fits(extents[0]) else bisect_left(extents, True, lo=1, key=fits)


def count_dropped(whole: Extent, shown: Extent) -> dict[str, int]:
    """Return the numbers of missing `passages`, those of exemplars included, and of missing `exemplars`."""
    passages = whole.passages + sum(whole.exemplars) - shown.passages - sum(shown.exemplars)
    return {"passages": passages, "exemplars": len(whole.exemplars) - len(shown.exemplars)}


CHATML = (
    "<|im_start|>system\nA conversation between a user and an LLM-based AI assistant. The assistant gives "
    "helpful and honest answers.<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
)
CHATML_STOP = ("<|im_end|>",)
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{text}\n\n### Response:"
)
ALPACA_STOP = ("### Instruction:", "### Response:")
ALPACA_TURNS = {
    "system": "{text}\n\n",
    "user": "### Instruction:\n{text}\n\n",
    "assistant": "### Response:\n{text}\n\n",
}


@dataclass(frozen=True, slots=True)
class StudentPrompt:
    """The content of a Request: `messages` if the server or engine applies the model's own template, else a
    finished `prompt`. The answer ends before any text of `stop`."""

    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    stop: tuple[str, ...] = ()


def apply_format(prompt_format: PromptFormat, text: str, stop: Sequence[str]) -> StudentPrompt:
    """Return `text` in this format; `stop` is that of its task folder.

    raw     the text alone (the paper); it ends at `stop`, before a model begins its own example
    chatml  MPT-7B-Chat and others: turns between `<|im_start|>` and `<|im_end|>`, after MPT's system message
    alpaca  the template of Stanford Alpaca without an input; it ends before another turn
    chat    one user message

    All formats have the same text, so that they can be compared. Worked examples do not become earlier turns:
    the model never gave these answers, and its template would change what the grid varies.
    """
    match prompt_format:
        case "raw":
            return StudentPrompt(prompt=text, stop=tuple(stop))
        case "chatml":
            return StudentPrompt(prompt=CHATML.format(text=text), stop=CHATML_STOP)
        case "alpaca":
            return StudentPrompt(prompt=ALPACA.format(text=text), stop=ALPACA_STOP)
        case "chat":
            return StudentPrompt(messages=(Message("user", text),))


def format_messages(prompt_format: PromptFormat, messages: Sequence[Message]) -> StudentPrompt:
    """Return a conversation in this format: `chat` leaves it to the model's own template; the others are for
    models that have none. `raw` joins the texts."""
    match prompt_format:
        case "chat":
            return StudentPrompt(messages=tuple(messages))
        case "raw":
            return StudentPrompt(prompt="\n\n".join(message.content for message in messages))
        case "chatml":
            turns = [f"<|im_start|>{each.role}\n{each.content}<|im_end|>\n" for each in messages]
            return StudentPrompt(prompt="".join([*turns, "<|im_start|>assistant\n"]), stop=CHATML_STOP)
        case "alpaca":
            turns = [ALPACA_TURNS[each.role].format(text=each.content) for each in messages]
            return StudentPrompt(prompt="".join([*turns, "### Response:"]), stop=ALPACA_STOP)
