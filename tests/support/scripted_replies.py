"""Replies of the scripted provider: the normal one, and how a script changes it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.openai_server.replies import reply as normal_body
from tests.openai_server.replies import words

ROW = re.compile(r"\b(?:ROW|TEST)-\d+\b")
NORMAL = "NORMAL"
MAX_TOKENS = 10**9


@dataclass(frozen=True)
class Tokens:
    """Tokens of one call, as the provider counts them."""

    prompt: int
    completion: int


@dataclass(frozen=True)
class Reply:
    """A reply to send. `billed` is what the provider asks money for, None if it asks for none."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    billed: Tokens | None
    delay_s: float = 0.0
    closes: bool = False


def text_of(body: Mapping[str, Any]) -> str:
    """Return the prompt, or the texts of all messages. Raise LookupError or TypeError if there are none."""
    return str(body["prompt"]) if "prompt" in body else "\n".join(m["content"] for m in body["messages"])


def row_of(text: str) -> str:
    """Return the row that a prompt asks about: the last one it names. Exemplars name others before it."""
    return next(reversed(ROW.findall(text)), "")


def row_name(row: int | str) -> str:
    """Return the name of a row as a prompt holds it; scripts call ROW-7 simply 7."""
    return f"ROW-{row}" if isinstance(row, int) else row


def code_of(row: str) -> str:
    """Return the right answer to a row."""
    return f"f_{row.lower().replace('-', '_')}()"


def normal_text(row: str) -> str:
    return f"The call takes no values. The answer is {code_of(row)}"


def make_reply(script: Mapping[str, Any], request: Mapping[str, Any], text: str) -> Reply:
    """Change the normal reply to `text` as a script says.

    `status`, `headers`, `delay_s`, `close` (no reply at all), `sse` (an event stream); the body is `raw`,
    `json` or `body` unchanged, or the normal one with `content`, `message` (fields added), `finish_reason`,
    `usage` (fields changed, or another value in its place) and without `drop`. NORMAL in a content is the
    normal text. `billed` says whether the call costs money; by default it does if it is answered 2xx without
    an `error`.
    """
    body = _body(script, request, text)
    status = int(script.get("status", 200))
    raw = script["raw"].encode("utf-8", "surrogatepass") if "raw" in script else json.dumps(body).encode()
    kind = "application/json"
    if script.get("sse"):
        raw, kind = _event_stream(body), "text/event-stream"
    headers = {"Content-Type": kind} | {name: str(value) for name, value in script.get("headers", {}).items()}
    answered = 200 <= status < 300 and not (isinstance(body, dict) and body.get("error"))
    billed = script.get("billed", answered and not script.get("close"))
    return Reply(
        status, headers, raw, _tokens(body, request, text) if billed else None,
        float(script.get("delay_s", 0.0)), bool(script.get("close")),
    )  # fmt: skip


def _body(script: Mapping[str, Any], request: Mapping[str, Any], text: str) -> Any:
    for key in ("json", "body"):
        if key in script:
            return script[key]
    if "raw" in script:
        return None
    tokens = len(words(text))
    body = normal_body(dict(request), (text, "stop", tokens), len(words(text_of(request))), 0)
    choice = body["choices"][0]
    if "content" in script:
        content = _with_normal(script["content"], text)
        if "message" in choice:
            choice["message"]["content"] = content
        else:
            choice["text"] = content
        body["usage"]["completion_tokens"] = len(words(json.dumps(content)))
    if "message" in choice:
        message = _with_normal(script.get("message", {}), text)
        choice["message"] = choice["message"] | message if isinstance(message, dict) else message
    if "finish_reason" in script:
        choice["finish_reason"] = script["finish_reason"]
    if "usage" in script:
        usage = script["usage"]
        body["usage"] = body["usage"] | usage if isinstance(usage, dict) else usage
    for name in [script["drop"]] if isinstance(script.get("drop"), str) else script.get("drop", []):
        body.pop(name, None)
    return body


def _with_normal(value: Any, text: str) -> Any:
    """Put the normal text in place of NORMAL, at any depth."""
    if isinstance(value, str):
        return value.replace(NORMAL, text)
    if isinstance(value, list):
        return [_with_normal(item, text) for item in value]
    if isinstance(value, dict):
        return {name: _with_normal(item, text) for name, item in value.items()}
    return value


def _tokens(body: Any, request: Mapping[str, Any], text: str) -> Tokens:
    """Return the reported tokens if they are sane, else the provider's own count: one a word."""
    usage = body.get("usage") if isinstance(body, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    return Tokens(
        _sane(usage.get("prompt_tokens"), len(words(text_of(request)))),
        _sane(usage.get("completion_tokens"), len(words(text))),
    )


def _sane(reported: Any, counted: int) -> int:
    sane = isinstance(reported, int) and not isinstance(reported, bool) and 0 <= reported <= MAX_TOKENS
    return int(reported) if sane else counted


def _event_stream(body: Any) -> bytes:
    """Return a reply as the events that a server sends which streams unasked."""
    chunk = dict(body) if isinstance(body, dict) else {}
    if chunk.get("choices"):
        choice = dict(chunk["choices"][0])
        choice["delta"] = choice.pop("message", None)
        chunk |= {"object": "chat.completion.chunk", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
