"""Read the body of an answer, whatever a server wrote in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from models.adapters.backends.error_map import Address, error_object, map_error, status_of_error
from models.core.answers.cleaning import clean_completion, clean_line, clean_name, finish_reason, usage_of
from models.core.errors import Unavailable
from models.core.types import JSON, MALFORMED, Completion, Usage

# The server broke off its own answer: no fault of the row, and nothing to judge.
BROKEN_OFF = {"error", "abort", "aborted", "cancelled", "canceled", "insufficient_system_resource",
              "malformed_function_call"}  # fmt: skip
# The fields in which servers put what the model thought, and the types of such parts.
REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
REASONING_TYPES = {"thinking", "reasoning", "reasoning_text", "redacted_thinking"}
MAX_DEPTH = 20
# Characters of a model's name and of a fingerprint, as servers tell them.
MAX_SERVED = 63


def parse_completion(body: bytes, address: Address, headers: Mapping[str, str] | None = None) -> Completion:
    """Return the answer in the body of a response 2xx. A body that is no answer is quoted, with the finish
    reason MALFORMED and what is known of its usage.

    Raise ModelError for an error that is inside, by its code, and Unavailable, with its usage, for an answer
    that the server broke off.
    """
    document = read_json(body)
    fields: JSON = document if isinstance(document, dict) else {}
    choice = _first_choice(fields)
    if error := _error_inside(fields, choice):
        raise map_error(status_of_error(error), headers or {}, error, address)
    usage = usage_of(fields.get("usage"))
    completion = _completion(choice, usage)
    if completion is None:
        quoted = address.quote(body.decode(errors="replace"))
        return Completion(quoted, MALFORMED, usage)
    if completion.finish_reason.lower() in BROKEN_OFF:
        reason = f"it broke off the answer (finish_reason {completion.finish_reason})"
        raise Unavailable(f"{address}: {reason}", usage=usage)
    return clean_completion(replace(completion, served=_served(fields)))


def _served(fields: JSON) -> str | None:
    """Return how the server names the model that answered; None if it does not."""
    names = (fields.get("model"), fields.get("system_fingerprint"))
    parts = [clean_line(name, MAX_SERVED) for name in names if isinstance(name, str) and name.strip()]
    return " ".join(parts) or None


def read_json(body: bytes | str) -> Any:
    """Return the JSON in a body, that of an event stream put together; None if there is none."""
    try:
        return json.loads(body)
    except RecursionError:
        return None
    except ValueError:
        text = body.decode(errors="replace") if isinstance(body, bytes) else body
        return _joined(_events(text))


def _events(text: str) -> list[JSON]:
    """Return the events of a stream: the JSON objects in its lines `data: ...`."""
    lines = (line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:"))
    events: list[JSON] = []
    for line in lines:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def _joined(events: Sequence[JSON]) -> JSON | None:
    """Return the one answer that the events of a stream make."""
    if not events:
        return None
    message: JSON = {}
    whole: JSON = {}
    choice: JSON = {}
    for event in events:
        whole |= {name: value for name, value in event.items() if value is not None and name != "choices"}
        part = _first_choice(event) or {}
        choice |= {name: value for name, value in part.items() if value is not None}
        _add_texts(message, part.get("delta") or part.get("message"))
        if isinstance(part.get("text"), str) and len(events) > 1:
            message["content"] = f"{message.get('content') or ''}{part['text']}"
    return whole | ({"choices": [choice | {"message": message}]} if choice else {})


def _add_texts(message: JSON, delta: object) -> None:
    for name, value in delta.items() if isinstance(delta, dict) else ():
        before = message.get(name)
        joins = isinstance(before, str) and isinstance(value, str) and name != "role"
        message[name] = before + value if joins else value if value is not None else before


def _first_choice(fields: JSON) -> JSON | None:
    choices = fields.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _error_inside(fields: JSON, choice: JSON | None) -> Mapping[str, Any] | None:
    """Return the error that came with a status of success; None if there is an answer."""
    inner = choice.get("error") if choice else fields.get("error")
    return error_object(inner) if inner else None


def _completion(choice: JSON | None, usage: Usage) -> Completion | None:
    """Return the answer in a choice; None if it is none."""
    if choice is None:
        return None
    message = choice.get("message") or choice.get("delta")
    if not isinstance(message, dict):
        message = {"content": choice["text"]} if "text" in choice else None
    if message is None:
        return None
    text, thoughts = _texts(message.get("content"))
    if text is None and message.get("content") is not None:
        return None
    thoughts = [*(_plain(message.get(name)) for name in REASONING_FIELDS), *thoughts]
    reasoning = "\n".join(dict.fromkeys(each for each in thoughts if each))
    refusal = message.get("refusal")
    return Completion(
        text,
        finish_reason(choice.get("finish_reason")),
        usage,
        refusal if isinstance(refusal, str) else None,
        reasoning or None,
    )


def _texts(content: object) -> tuple[str | None, list[str]]:
    """Return the text of a content and its reasoning; None if it is neither a text nor parts of one."""
    if isinstance(content, str):
        return content, []
    parts = [content] if isinstance(content, dict) else content
    if not isinstance(parts, list):
        return None, []
    texts: list[str] = []
    thoughts: list[str] = []
    for part in parts:
        kind = clean_name(part.get("type")) if isinstance(part, dict) else "text"
        (thoughts if kind in REASONING_TYPES else texts).append(_plain(part))
    return "".join(texts), thoughts


def _plain(value: object, depth: int = 0) -> str:
    """Return the text in a part, at any of the places where servers put it."""
    if isinstance(value, str):
        return value
    if depth > MAX_DEPTH:
        return ""
    if isinstance(value, list):
        return "".join(_plain(item, depth + 1) for item in value)
    if isinstance(value, dict):
        names = ("text", "thinking", "reasoning", "content", "summary", "value")
        return next((text for name in names if (text := _plain(value.get(name), depth + 1))), "")
    return ""
