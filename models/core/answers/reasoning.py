"""Tell what a model thought aloud from what it answered."""

from __future__ import annotations

import re

# Not between quotes or backticks: there, an answer speaks about the tag.
_TAG = re.compile(r"(?<![`'\"])(?:<(?P<end>/?)think(?:ing)?>|\[(?P<mark>/?)THINK\])(?![`'\"])", re.IGNORECASE)


def split_reasoning(text: str) -> tuple[str, str | None]:
    """Return the answer in `text`, and the reasoning in it; None if it holds none.

    Reasoning stands in `<think>...</think>`, before a lone `</think>`, as chat templates that open the tag in
    the prompt let it, and after a `<think>` that is not closed, where the limit cut it off.
    """
    thoughts: list[str] = []
    while _TAG.search(text):  # taking a tag out may make another of what stood around it
        text, inside = _split_once(text)
        thoughts.append(inside)
    return text, "\n".join(filter(None, thoughts)) or None


def _split_once(text: str) -> tuple[str, str]:
    answer: list[str] = []
    thoughts: list[str] = []
    thinking, start = False, 0
    for tag in _TAG.finditer(text):
        piece, start = text[start : tag.start()], tag.end()
        if not (tag["end"] or tag["mark"]):
            (thoughts if thinking else answer).append(piece)
            thinking = True
            continue
        if not thinking:  # all that stood before was thought
            thoughts, answer = [*thoughts, *answer], []
        thoughts.append(piece)
        thinking = False
    (thoughts if thinking else answer).append(text[start:])
    return "".join(answer).strip(), "".join(thoughts).strip()
