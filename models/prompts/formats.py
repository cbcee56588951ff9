"""Prompt formats: how a student's text is put to models that were tuned on a template.

Every format holds the same text (documentation, worked examples, request), so that formats can be compared.
Worked examples are not turned into earlier turns of a conversation: a model would be shown answers that it
never gave, and its template would stand between what the grid varies.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.prompts import templates
from models.students import PromptFormat
from models.types import Message


@dataclass(frozen=True, slots=True)
class Asked:
    """What a Request says: `messages` where the server or engine applies the model's own template, else a
    finished `prompt`. The answer ends before any text of `stop`."""

    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    stop: tuple[str, ...] = ()


def formatted(prompt_format: PromptFormat, text: str) -> Asked:
    """`text` in this format.

    raw     the text alone (the paper); it ends where a model would begin an example of its own
    chatml  MPT-7B-Chat and others: turns between `<|im_start|>` and `<|im_end|>`, after MPT's system message
    alpaca  the template of Stanford Alpaca without an input; it ends where another turn would begin
    chat    one user message
    """
    match prompt_format:
        case "raw":
            return Asked(prompt=text, stop=templates.STOP)
        case "chatml":
            return Asked(prompt=templates.CHATML.format(text=text), stop=templates.CHATML_STOP)
        case "alpaca":
            return Asked(prompt=templates.ALPACA.format(text=text), stop=templates.ALPACA_STOP)
        case "chat":
            return Asked(messages=(Message("user", text),))
