"""Where the code stands in what a model wrote."""

from __future__ import annotations

import re
import textwrap
from typing import Literal

from models.core.programs import parse_python

# `module` is the `extract` of a task folder's task.py, which workers call.
Extraction = Literal["paper", "strict", "module"]

_ANSWER = re.compile("the answer is", re.IGNORECASE)
_FENCE = re.compile(
    r"```(?:(?:python3?|py)(?=\s)|[\w+#.-]*[ \t]*\r?\n)?(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE
)
_NEXT_SECTION = re.compile(r"\n[ \t#*]*(?:Query|Request|Question)[ \t*]*:")
_BLANKS = " \t\r\n\f\v"


def extract_prediction(rule: Literal["paper", "strict"], text: str) -> str:
    """The code in a student's answer, "" where there is none. Raises nothing.

    `paper` is the paper's own extraction. `strict` takes the code of the answer sentence, else the
    first fenced block, else the first line that is not blank.
    """
    return _paper(text) if rule == "paper" else _strict(text)


def answer_code(text: str) -> str | None:
    """The code after the last "the answer is" (any case), bare; None where no such sentence stands.

    A fenced block counts as the answer unless code stands between it and the sentence.
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


def explanation(text: str) -> str:
    """`text` up to its first "the answer is"; all of it where no such sentence stands."""
    return _ANSWER.split(text, maxsplit=1)[0]


def strip_marks(code: str) -> str:
    """`code` less leading blanks, colons, backquotes and trailing blanks, full stops, colons, backquotes."""
    return code.lstrip(_BLANKS + ":`").rstrip(_BLANKS + ".:`")


def own_part(text: str) -> str:
    """`text` up to where the model goes on with a next example of its own invention."""
    return _NEXT_SECTION.split(text, maxsplit=1)[0]


def _strict(text: str) -> str:
    text = own_part(text)
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
