"""Batches of calls. One is worked off when somebody looks after its time has come."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.openai_server.files import Files, page
from tests.openai_server.replies import call_of, cut, error_response, malformed, reply, text_of, words

if TYPE_CHECKING:
    from tests.openai_server.app import Server

PATHS = ("/v1/chat/completions", "/v1/completions")
MOST_LINES = 50_000
ENDED = ("completed", "failed", "expired", "cancelled")
Line = dict[str, Any]


@dataclass
class Batch:
    id: str
    input_file: str
    endpoint: str
    metadata: dict[str, str]
    due: float
    status: str = "validating"
    lines: list[Line] = field(default_factory=list)
    errors: list[Line] = field(default_factory=list)
    output: str | None = None
    failures: str | None = None
    completed: int = 0
    failed: int = 0
    created_at: int = field(default_factory=lambda: int(time.time()))

    def document(self) -> Line:
        return {
            "id": self.id, "object": "batch", "endpoint": self.endpoint, "completion_window": "24h",
            "input_file_id": self.input_file, "status": self.status, "created_at": self.created_at,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "output_file_id": self.output, "error_file_id": self.failures, "metadata": self.metadata,
            "request_counts": {
                "total": len(self.lines), "completed": self.completed, "failed": self.failed
            },
        }  # fmt: skip


class Batches:
    def __init__(self, server: Server, files: Files) -> None:
        self._server = server
        self._files = files
        self._numbers = itertools.count(1)
        self._batches: dict[str, Batch] = {}

    async def create(self, http: web.Request) -> web.Response:
        body = await http.json()
        file = self._files.get(body.get("input_file_id", ""))
        if not file or body.get("endpoint") not in PATHS or body.get("completion_window") != "24h":
            return error_response(400, "input_file_id, endpoint or completion_window cannot be used")
        due = time.monotonic() + self._server.behaviour.batch_latency_ms / 1000
        made = Batch(
            f"batch-{next(self._numbers)}", file.id, body["endpoint"], body.get("metadata") or {}, due
        )
        made.lines, made.errors = _read(file.content, made.endpoint)
        waiting = sum(_tokens(batch.lines) for batch in self._batches.values() if batch.status not in ENDED)
        limit = self._server.behaviour.batch_tokens
        if limit and waiting + _tokens(made.lines) > limit:
            made.errors.append(
                {"code": "token_limit_exceeded", "message": f"at most {limit} tokens may wait"}
            )
        self._batches[made.id] = made
        return web.json_response(made.document())

    async def list_batches(self, http: web.Request) -> web.Response:
        return page(http, list(self._batches.values())[::-1])

    async def batch(self, http: web.Request) -> web.Response:
        record = self._batches.get(http.match_info["id"])
        if not record:
            return error_response(404, "no such batch")
        if record.status not in ENDED:
            self._work_off(record)
        return web.json_response(record.document())

    async def cancel(self, http: web.Request) -> web.Response:
        record = self._batches.get(http.match_info["id"])
        if not record or record.status in ENDED:
            return error_response(409, "no such batch, or it has ended")
        self._end(record, "cancelled", [_undone(line, "batch_cancelled") for line in record.lines])
        return web.json_response(record.document())

    def _work_off(self, batch: Batch) -> None:
        if batch.errors:
            batch.status = "failed"
        elif time.monotonic() < batch.due:
            batch.status = "in_progress"
        else:
            results = [self._answer(line) for line in batch.lines]
            expired = any(result["error"] for result in results)
            self._end(batch, "expired" if expired else "completed", results)

    def _end(self, batch: Batch, status: str, results: Sequence[Line]) -> None:
        good = [
            result for result in results if result["response"] and result["response"]["status_code"] == 200
        ]
        bad = [result for result in results if result not in good]
        batch.status, batch.completed, batch.failed = status, len(good), len(bad)
        if good:
            batch.output = self._files.store(f"{batch.id}_output.jsonl", "batch_output", _jsonl(good)).id
        if bad:
            batch.failures = self._files.store(f"{batch.id}_error.jsonl", "batch_output", _jsonl(bad)).id

    def _answer(self, line: Line) -> Line:
        """Answer as the server answers a call, with the same counts."""
        server, body = self._server, line["body"]
        does, text, call = server.behaviour, text_of(body), call_of(body)
        tokens, attempt = len(words(text)), server.attempts[call]
        server.attempts[call] += 1
        if does.chance("expire", call, attempt) < does.batch_expire:
            return _undone(line, "batch_expired")
        fault = server.refuse(body, tokens) or server.fail(call, attempt)
        if not fault and does.chance("batch", call, attempt) < does.batch_fail:
            fault = error_response(500, "The server had an error", "server_error")
        if fault:
            return _result(line, fault.status, json.loads(fault.text or "null"))
        server.paid[call] += 1
        answer = cut(server.answers.answer(text, salt=str(body.get("seed", ""))), body)
        whole = reply(body, answer, prompt_tokens=tokens, cached=0)
        server.charge(whole["usage"])
        _, spoiled = malformed(whole, does.malformation(call, attempt))
        return _result(line, 200, _as_json(spoiled))


def _read(content: bytes, endpoint: str) -> tuple[list[Line], list[Line]]:
    """Lines, and what is wrong with them."""
    lines: list[Line] = []
    errors: list[Line] = []

    def wrong(code: str, message: str) -> None:
        errors.append({"code": code, "message": message, "line": len(lines), "param": None})

    for text in content.splitlines():
        line = _as_json(text)
        lines.append(line)
        if not isinstance(line, dict) or {"custom_id", "method", "url", "body"} - line.keys():
            wrong("invalid_json_line", "This line is not a call.")
            return [], errors
        if line["url"] != endpoint or line["method"] != "POST":
            wrong("mismatched_endpoint", "This call has another endpoint than its batch.")
    if len({line["custom_id"] for line in lines}) < len(lines):
        wrong("duplicate_custom_id", "A custom_id is there twice.")
    if len({line["body"].get("model") for line in lines}) > 1:
        wrong("mismatched_model", "All calls of a batch need the same model.")
    if not 0 < len(lines) <= MOST_LINES:
        wrong("invalid_length", f"From 1 to {MOST_LINES} calls make a batch.")
    return lines, errors


def _result(line: Line, status: int, body: object) -> Line:
    response = {"status_code": status, "request_id": f"req-{line['custom_id'][:8]}", "body": body}
    return {"id": f"result-{line['custom_id'][:8]}", "custom_id": line["custom_id"], "response": response,
            "error": None}  # fmt: skip


def _undone(line: Line, code: str) -> Line:
    error = {"code": code, "message": "This call was not executed."}
    return {"id": None, "custom_id": line["custom_id"], "response": None, "error": error}


def _tokens(lines: Sequence[Line]) -> int:
    return sum(len(words(json.dumps(line["body"]))) for line in lines)


def _as_json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")


def _jsonl(lines: Sequence[Line]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def add_to(app: web.Application, server: Server, files: Files) -> None:
    its = Batches(server, files)
    app.router.add_routes([
        web.post("/v1/batches", its.create),
        web.get("/v1/batches", its.list_batches),
        web.get("/v1/batches/{id}", its.batch),
        web.post("/v1/batches/{id}/cancel", its.cancel),
    ])  # fmt: skip
