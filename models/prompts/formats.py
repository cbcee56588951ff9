"""Prompt formats: how a student's text is put to models that were tuned on a template.

Every format holds the same text (documentation, worked examples, request), so that formats can be compared.
Worked examples are not turned into earlier turns of a conversation: a model would be shown answers that it
never gave, and its template would stand between what the grid varies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.students import PromptFormat
from models.types import Message

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
class Asked:
    """What a Request says: `messages` where the server or engine applies the model's own template, else a
    finished `prompt`. The answer ends before any text of `stop`."""

    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    stop: tuple[str, ...] = ()


def formatted(prompt_format: PromptFormat, text: str, stop: Sequence[str]) -> Asked:
    """`text` in this format; `stop` is that of its task folder.

    raw     the text alone (the paper); it ends at `stop`, where a model would begin its own example
    chatml  MPT-7B-Chat and others: turns between `<|im_start|>` and `<|im_end|>`, after MPT's system message
    alpaca  the template of Stanford Alpaca without an input; it ends where another turn would begin
    chat    one user message
    """
    match prompt_format:
        case "raw":
            return Asked(prompt=text, stop=tuple(stop))
        case "chatml":
            return Asked(prompt=CHATML.format(text=text), stop=CHATML_STOP)
        case "alpaca":
            return Asked(prompt=ALPACA.format(text=text), stop=ALPACA_STOP)
        case "chat":
            return Asked(messages=(Message("user", text),))
