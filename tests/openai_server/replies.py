"""Bodies of answers, and how they are spoiled."""

from __future__ import annotations

import hashlib
import json
import re
import time
from http import HTTPStatus
from typing import Any

from aiohttp import web

PAGE = "<!DOCTYPE html><html><head><title>Bad gateway</title></head><body>Try again</body></html>"
_WORD = re.compile(r"\s*\S+")


def words(text: str) -> list[str]:
    """The tokens of this server, each with the blanks before it."""
    return _WORD.findall(text)


def cut(answer: str, body: dict[str, Any]) -> tuple[str, str, int]:
    """Text, finish_reason and tokens after stop sequences and the token limit."""
    stops = [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or []
    answer = answer[: min((answer.find(stop) for stop in stops if stop in answer), default=None)]
    tokens = words(answer)
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if limit is None or len(tokens) <= limit:
        return answer, "stop", len(tokens)
    return "".join(tokens[:limit]), "length", limit


def reply(
    body: dict[str, Any], answer: tuple[str, str, int], prompt_tokens: int, cached: int
) -> dict[str, Any]:
    text, finish_reason, tokens = answer
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason}
    if "prompt" in body:
        choice["text"] = text
    else:
        choice["message"] = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": "answer",
        "object": "text_completion" if "prompt" in body else "chat.completion",
        "created": int(time.time()),
        "model": body.get("model"),
        "choices": [choice],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": prompt_tokens + tokens,
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    }


def malformed(reply: dict[str, Any], kind: str | None) -> tuple[str, bytes]:
    """Content type and body of `reply`, spoiled in the way that `kind` names."""
    if kind == "html":
        return "text/html", PAGE.encode()
    choice = reply["choices"][0]
    holder, field = (choice, "text") if "text" in choice else (choice["message"], "content")
    if kind in ("null", "empty"):
        holder[field] = None if kind == "null" else ""
    if kind == "refusal":
        holder[field] = "I'm sorry, but I can't help with that."
        if field == "content":
            holder.update(content=None, refusal=holder["content"])
    body = json.dumps(reply).encode()
    return "application/json", body[: len(body) // 2] if kind == "truncated" else body


def text_of(body: dict[str, Any]) -> str:
    """Raises LookupError or TypeError where the body is neither a chat nor a completion."""
    return str(body["prompt"]) if "prompt" in body else "\n".join(m["content"] for m in body["messages"])


def call_of(body: dict[str, Any]) -> str:
    """Return the key that the call is counted by."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def error_response(
    status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None
) -> web.Response:
    error = {"message": message, "type": HTTPStatus(status).phrase, "param": None, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)
