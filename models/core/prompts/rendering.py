"""Prompts as a pure function of what is asked, found and shown, in the words of a task folder.

What of a prompt is left out where the model's context is too short for all of it.

Documentation goes first, worked examples next, the request never. Documentation of the examples goes before
the request's own: it only shows a form, while the request's is what there is to answer from. The passage of
the lowest rank goes first, and the exemplar that was drawn last.

Prompt formats: how a student's text is put to models that were tuned on a template.

Every format holds the same text (documentation, worked examples, request), so that formats can be compared.
Worked examples are not turned into earlier turns of a conversation: a model would be shown answers that it
never gave, and its template would stand between what the grid varies.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models.core.experiment.endpoints import PromptFormat
from models.core.experiment.task_folder import TaskFolder
from models.core.prompts.templates import Template, compile_template
from models.core.retrieval.passage_selection import passage_heading, passage_line
from models.core.types import Exemplar, Message, Passage

HintStyle = Literal["paper", "explain"]


class PromptRenderer:
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
        return compile_template(name, getattr(self.folder.prompts, name))


def example_query(request: str, augmentation: str) -> str:
    """The enhanced request: the terse one, then what it requires."""
    return f"{request.rstrip().rstrip('.')}. {augmentation}"


def _chat(system: str, turns: Sequence[tuple[str, str]], last: str) -> tuple[Message, ...]:
    messages = [Message("system", system)]
    for asked, answered in turns:
        messages += [Message("user", asked), Message("assistant", answered)]
    return (*messages, Message("user", last))


def _shown(passage: Passage) -> dict[str, Any]:
    arguments = passage_heading(passage).removeprefix(passage.name.removesuffix("()")) if passage.name else ""
    return {"line": passage_line(passage), "name": passage.name, "signature": arguments, "text": passage.text}


def _numbered(lines: Sequence[str]) -> str:
    return "\n".join(f"{number}. {' '.join(line.split())}" for number, line in enumerate(lines, 1))


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is shown: the best `passages` of the request, and the first `exemplars`, as many passages
    with each."""

    passages: int
    exemplars: tuple[int, ...] = ()


def extents(whole: Extent) -> list[Extent]:
    """`whole`, then what is left after each drop, down to the request alone."""
    left = [whole]
    shown = list(whole.exemplars)
    for place in reversed(range(len(shown))):
        for count in reversed(range(shown[place])):
            shown[place] = count
            left.append(Extent(whole.passages, tuple(shown)))
    left += [Extent(count, tuple(shown)) for count in reversed(range(whole.passages))]
    left += [Extent(0, tuple(shown[:count])) for count in reversed(range(len(shown)))]
    return left


def first_that_fits(ways: Sequence[Extent], fits: Callable[[Extent], bool]) -> int:
    """The place of the first of `extents` that fits, or their number where none does. Few are tried: what
    follows one that fits is taken to fit."""
    return 0 if fits(ways[0]) else bisect_left(ways, True, lo=1, key=fits)


def dropped(whole: Extent, shown: Extent) -> dict[str, int]:
    """How many `passages`, those of exemplars included, and how many `exemplars` are missing."""
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


@dataclass(frozen=True, slots=True)
class StudentPrompt:
    """What a Request says: `messages` where the server or engine applies the model's own template, else a
    finished `prompt`. The answer ends before any text of `stop`."""

    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    stop: tuple[str, ...] = ()


def apply_format(prompt_format: PromptFormat, text: str, stop: Sequence[str]) -> StudentPrompt:
    """`text` in this format; `stop` is that of its task folder.

    raw     the text alone (the paper); it ends at `stop`, where a model would begin its own example
    chatml  MPT-7B-Chat and others: turns between `<|im_start|>` and `<|im_end|>`, after MPT's system message
    alpaca  the template of Stanford Alpaca without an input; it ends where another turn would begin
    chat    one user message
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
