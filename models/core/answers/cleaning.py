"""Clean what a provider or a model wrote, before anything else sees it, and part reasoning from the answer.

No text that comes from outside may break a commit, a terminal or a log: null and other control characters,
lone surrogates, names as long as a page, and numbers of tokens that cannot be.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from models.core.types import Completion, Usage

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


MAX_NAME = 32
MAX_TOKENS = 10**9
_LINE_ENDS = re.compile(r"\r\n?|[\v\f\x85]")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# What servers call the limit of an answer, and what they call their filter.
TRUNCATED = {"length", "model_length", "max_tokens", "max_output_tokens", "max_completion_tokens"}
FILTERED = {"content_filter", "content_filtered", "safety", "refusal", "recitation", "blocklist",
            "prohibited_content", "guardrail_intervened"}  # fmt: skip


def clean_text(text: str) -> str:
    """Return `text` without control characters but newlines and tabs; no lone surrogate is left in it."""
    if text.isprintable():
        return text
    return _SURROGATES.sub("?", _CONTROLS.sub("", _LINE_ENDS.sub("\n", text)))


def clean_line(text: str, limit: int) -> str:
    """Return `text` on one printable line of at most `limit` characters."""
    line = " ".join(clean_text(text).split())
    line = "".join(char if char.isprintable() else _REPLACEMENT for char in line[: 2 * limit])
    return line if len(line) <= limit else line[: limit - 3] + "..."


def clean_name(value: object) -> str:
    """Return a name as a short text, whatever came as one; empty if it is no name."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return clean_line(str(value)[: 2 * MAX_NAME], MAX_NAME)


def finish_reason(value: object) -> str:
    """Return a finish reason, by OpenAI's name if it is one that other servers call differently."""
    name = clean_name(value)
    if name.lower() in TRUNCATED:
        return "length"
    return "content_filter" if name.lower() in FILTERED else name


def clean_completion(completion: Completion) -> Completion:
    """Return a completion that can be stored, its reasoning apart from its text. Cleaning twice changes
    nothing."""
    text, thoughts = completion.text, completion.reasoning
    if text is not None:
        text, inside = split_reasoning(clean_text(text))
        thoughts = "\n".join(part for part in (thoughts, inside) if part)
    return replace(
        completion,
        text=text,
        finish_reason=finish_reason(completion.finish_reason),
        usage=clean_usage(completion.usage),
        refusal=clean_text(completion.refusal or "") or None,
        reasoning=clean_text(thoughts or "") or None,
    )


def tokens_of(value: object) -> int | None:
    """Return a number of tokens; None for what cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if math.isfinite(value) and 0 <= value <= MAX_TOKENS else None


def usage_of(reported: object) -> Usage:
    """Return the usage that a server told, whatever it told.

    What it did not tell, or what cannot be, is 0, and marked as estimated: the caller charges its estimate.
    """
    fields = reported if isinstance(reported, dict) else {}
    prompt, completion = tokens_of(fields.get("prompt_tokens")), tokens_of(fields.get("completion_tokens"))
    cached = _detail(fields, "prompt_tokens_details", "cached_tokens")
    reasoning = _detail(fields, "completion_tokens_details", "reasoning_tokens")
    unknown = not prompt or completion is None  # there is no prompt of nothing
    return clean_usage(Usage(prompt or 0, cached, completion or 0, reasoning, unknown))


def clean_usage(usage: Usage) -> Usage:
    """Return a usage whose parts are no larger than the whole, and nothing of it below 0."""
    prompt, completion = _bounded(usage.prompt, MAX_TOKENS), _bounded(usage.completion, MAX_TOKENS)
    return replace(
        usage,
        prompt=prompt,
        cached=_bounded(usage.cached, prompt),
        completion=completion,
        reasoning=_bounded(usage.reasoning, completion),
    )


def _bounded(tokens: int, limit: int) -> int:
    return min(max(tokens, 0), limit)


def _detail(fields: dict[str, object], group: str, name: str) -> int:
    details = fields.get(group)
    value = details.get(name) if isinstance(details, dict) else None
    if isinstance(value, int) and value > MAX_TOKENS:
        return MAX_TOKENS
    return tokens_of(value) or 0
