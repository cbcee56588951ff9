"""Finds the code in the text of a model."""

from __future__ import annotations

import re
import textwrap
from typing import Literal

from models.core.programs import parse_python

# For `module`, workers call `extract` of the task folder's task.py.
Extraction = Literal["paper", "strict", "module", "none"]

_ANSWER = re.compile("the answer is", re.IGNORECASE)
_FENCE = re.compile(
    r"```(?:(?:python3?|py)(?=\s)|[\w+#.-]*[ \t]*\r?\n)?(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE
)
_NEXT_SECTION = re.compile(r"\n[ \t#*]*(?:Query|Request|Question)[ \t*]*:")
_BLANKS = " \t\r\n\f\v"


def extract_prediction(rule: Literal["paper", "strict", "none"], text: str) -> str:
    """Return the code in a student's answer, "" if there is none. Raise nothing.

    `none` leaves the answer as it is. `paper` is the paper's own extraction. `strict` takes the code of the
    answer sentence, else the first fenced block, else the first line that is not blank.
    """
    if rule == "none":
        return text
    return _paper(text) if rule == "paper" else _strict(text)


def answer_code(text: str) -> str | None:
    """Return the code after the last "the answer is" (any case), without marks; None without this sentence.

    A fenced block is the answer unless code stands between the sentence and the block.
    """
    sentences = list(_ANSWER.finditer(text))
    if not sentences:
        return None
    tail = text[sentences[-1].end() :]
    fence = _FENCE.search(tail)
    if fence is None:
        return strip_marks(tail)
    before = strip_marks(tail[: fence.start()])
    return before if before and parse_python(before) else _block(fence)


def code_in(text: str) -> str:
    """Return the code of a model's answer, as it is: its first fenced block, what follows "the answer is", or
    all of a text that is a single line or Python; else nothing."""
    if fence := _FENCE.search(text):
        return textwrap.dedent(fence[1]).strip("\r\n").rstrip()
    if (code := answer_code(text)) is not None:
        return code
    text = text.strip()
    return text if "\n" not in text or parse_python(text) else ""


def explanation(text: str) -> str:
    """Return `text` up to its first "the answer is", or all of it without this sentence."""
    return _ANSWER.split(text, maxsplit=1)[0]


def strip_marks(code: str) -> str:
    """Strip leading blanks, colons, backquotes and trailing blanks, full stops, colons, backquotes."""
    return code.lstrip(_BLANKS + ":`").rstrip(_BLANKS + ".:`")


def before_next_example(text: str) -> str:
    """Return `text` up to the next example that the model invents."""
    return _NEXT_SECTION.split(text, maxsplit=1)[0]


def _strict(text: str) -> str:
    text = before_next_example(text)
    if (code := answer_code(text)) is not None:
        return code
    if fence := _FENCE.search(text):
        return _block(fence)
    return strip_marks(next((line for line in text.splitlines() if line.strip()), ""))


def _paper(text: str) -> str:
    answer = text.partition("Query:")[0].rpartition(". ")[2].rpartition("The answer is")[2]
    return answer.replace("`", "").strip()


def _block(fence: re.Match[str]) -> str:
    return strip_marks(textwrap.dedent(fence[1]))
