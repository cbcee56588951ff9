"""The HTTP side of the test server."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from dataclasses import asdict, replace
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from tests.openai_server import batches, embeddings, files
from tests.openai_server.answers import Answers
from tests.openai_server.behaviour import KINDS, Behaviour, Meter, Window
from tests.openai_server.replies import call_of, cut, error_response, malformed, reply, text_of, words

# Endpoints that count no call: their key is looked at before anything else.
KEYED = ("/v1/files", "/v1/batches", "/v1/embeddings")


class Server:
    """Counts what it is asked. `paid` counts the answers to each call, by the hash of its body."""

    def __init__(self, answers: Answers, behaviour: Behaviour) -> None:
        self.answers = answers
        self.in_flight = 0
        self.forget()
        self.behave(behaviour)

    def behave(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.since = time.monotonic()
        self.requests, self.tokens = Meter(behaviour.rpm), Meter(behaviour.tpm)

    def forget(self) -> None:
        self.attempts: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.tokens_paid: Counter[str] = Counter()
        self.admitted = Window()
        self.first_call_at: float | None = None
        self.last_answer_at: float | None = None
        self.in_flight_max = self.in_flight

    def stats(self) -> dict[str, Any]:
        """Times are in seconds since the epoch; `most_in_a_minute` counts calls not answered 429."""
        return {
            "first_call_at": self.first_call_at,
            "last_answer_at": self.last_answer_at,
            "calls": self.attempts.total(),
            "answers": self.paid.total(),
            "paid_again": self.paid.total() - len(self.paid),
            "in_flight": self.in_flight,
            "in_flight_max": self.in_flight_max,
            "most_in_a_minute": self.admitted.most,
            "tokens_paid": {kind: self.tokens_paid[kind] for kind in ("prompt", "cached", "completion")},
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "paid": self.paid,
        }

    async def complete(self, http: web.Request) -> web.StreamResponse:
        self.first_call_at = self.first_call_at or time.time()
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            response = await self._complete(http)
            self.statuses[response.status] += 1
            return response
        finally:
            self.in_flight -= 1
            self.last_answer_at = time.time()

    async def _complete(self, http: web.Request) -> web.StreamResponse:
        try:
            body = await http.json()
            text = text_of(body)
            tokens = len(words(text))
            wanted = tokens + int(body.get("max_completion_tokens") or body.get("max_tokens") or 0)
        except (ValueError, KeyError, TypeError):
            return error_response(400, "the body is not a chat or a completion that this server understands")
        call = call_of(body)
        attempt = self.attempts[call]
        self.attempts[call] += 1
        fault = (
            self._refuse(http, body, tokens) or self._limit(wanted) or self.fail(call, attempt, _quoted(http))
        )
        if fault is None or fault.status != HTTPStatus.TOO_MANY_REQUESTS:
            self.admitted.count(time.monotonic())
        if fault:
            return fault
        await asyncio.sleep(self.behaviour.latency(call, attempt))
        if self.behaviour.chance("drop", call, attempt) < self.behaviour.pdrop:
            return _drop(http)
        self.paid[call] += 1
        answer = cut(self.answers.answer(text, salt=str(body.get("seed", ""))), body)
        whole = reply(body, answer, prompt_tokens=tokens, cached=tokens // 2 if attempt else 0)
        self.charge(whole["usage"])
        return await self._send(http, *malformed(whole, self.behaviour.malformation(call, attempt)))

    def charge(self, usage: dict[str, Any]) -> None:
        self.tokens_paid["prompt"] += usage["prompt_tokens"]
        self.tokens_paid["cached"] += usage["prompt_tokens_details"]["cached_tokens"]
        self.tokens_paid["completion"] += usage["completion_tokens"]

    def _refuse(self, http: web.Request, body: dict[str, Any], tokens: int) -> web.Response | None:
        """Refuse what no later attempt would repair."""
        return self.refuse_key(http) or self.refuse(body, tokens)

    def refuse_key(self, http: web.Request) -> web.Response | None:
        given = http.headers.get("Authorization", "")
        if not self.behaviour.key or given == f"Bearer {self.behaviour.key}":
            return None
        # Quoted as a careless server would, so that callers can show that they keep it to themselves.
        return error_response(401, f"Incorrect API key provided{_quoted(http)}", "invalid_api_key")

    def refuse(self, body: dict[str, Any], tokens: int) -> web.Response | None:
        asked = self.behaviour
        if asked.model and body.get("model") != asked.model:
            return error_response(404, f"The model {body.get('model')!r} does not exist", "model_not_found")
        if body.get("stream"):
            return error_response(400, "this server does not stream", "unsupported_value")
        if "response_format" in body and not asked.schemas:
            return error_response(400, "response_format is not supported", "unsupported_parameter")
        if problem := self.answers.refusal(body, text_of(body)):
            return error_response(400, problem, "invalid_prompt")
        if asked.max_context and tokens > asked.max_context:
            return error_response(
                400, f"{tokens} tokens, at most {asked.max_context}", "context_length_exceeded"
            )
        return None

    def _limit(self, wanted: int) -> web.Response | None:
        now = time.monotonic()
        wait = self.requests.charge(1, now) or self.tokens.charge(wanted, now)
        if not wait:
            return None
        headers = {"Retry-After": str(math.ceil(wait))} if self.behaviour.limit_headers else {}
        return error_response(429, "Rate limit reached", "rate_limit_exceeded", headers | self._limits())

    def fail(self, call: str, attempt: int, key: str = "") -> web.Response | None:
        does = self.behaviour
        given = key if does.key else ""
        outage = time.monotonic() - self.since - does.outage_after_s
        if 0 <= outage < does.outage_s:
            return error_response(503, f"The server is overloaded{given}", "server_overloaded")
        if does.chance("429", call, attempt) < does.p429:
            headers = {"Retry-After": does.retry_after} if does.retry_after else {}
            return error_response(429, f"Rate limit reached{given}", "rate_limit_exceeded", headers)
        if does.chance("500", call, attempt) < does.p500:
            return error_response(500, f"The server had an error{given}", "server_error")
        return None

    def _limits(self) -> dict[str, str]:
        """Return OpenAI's headers of limits, if there are limits."""
        if not self.behaviour.limit_headers:
            return {}
        limits = {"requests": self.behaviour.rpm, "tokens": self.behaviour.tpm}
        return {f"x-ratelimit-limit-{what}": str(limit) for what, limit in limits.items() if limit}

    async def _send(self, http: web.Request, kind: str, body: bytes) -> web.StreamResponse:
        headers = {"Content-Type": kind} | self._limits()
        if not self.behaviour.slow_body_ms:
            return web.Response(body=body, headers=headers)
        response = web.StreamResponse(headers=headers | {"Content-Length": str(len(body))})
        await response.prepare(http)
        piece = math.ceil(len(body) / 10)
        for start in range(0, len(body), piece):
            await asyncio.sleep(self.behaviour.slow_body_ms / 10_000)
            await response.write(body[start : start + piece])
        return response


def _quoted(http: web.Request) -> str:
    """The key as a careless server repeats it, so that callers can show that they keep it to themselves."""
    return f": {http.headers.get('Authorization', '')}"


def _drop(http: web.Request) -> web.Response:
    if http.transport is not None:
        http.transport.abort()
    return web.Response(status=499)  # nobody reads it; it is how the statuses are counted


SERVER = web.AppKey("SERVER", Server)


@web.middleware
async def _ask_for_the_key(http: web.Request, handler: Handler) -> web.StreamResponse:
    refused = http.app[SERVER].refuse_key(http) if http.path.startswith(KEYED) else None
    return refused or await handler(http)


async def _stats(http: web.Request) -> web.Response:
    return web.json_response(http.app[SERVER].stats())


async def _totals(http: web.Request) -> web.Response:
    """All but the calls one by one, of which there may be millions."""
    return web.json_response({**http.app[SERVER].stats(), "paid": {}})


async def _forget(http: web.Request) -> web.Response:
    http.app[SERVER].forget()
    return web.json_response({})


async def _configure(http: web.Request) -> web.Response:
    """Changes the settings that the body names; answers with all."""
    server = http.app[SERVER]
    changes = await http.json()
    types = Behaviour.types()
    wrong = [name for name in changes if name not in types]
    wrong += [kind for kind in str(changes.get("kinds", KINDS[0])).split(",") if kind not in KINDS]
    if wrong:
        return error_response(400, f"unknown: {', '.join(wrong)}")
    server.behave(replace(server.behaviour, **{name: types[name](value) for name, value in changes.items()}))
    return web.json_response(asdict(server.behaviour))


async def _models(http: web.Request) -> web.Response:
    name = http.app[SERVER].behaviour.model or "any"
    return web.json_response({"object": "list", "data": [{"id": name, "object": "model"}]})


def application(server: Server) -> web.Application:
    app = web.Application(client_max_size=256 * 2**20, middlewares=[_ask_for_the_key])
    app[SERVER] = server
    app.router.add_post("/v1/chat/completions", server.complete)
    app.router.add_post("/v1/completions", server.complete)
    app.router.add_get("/v1/models", _models)
    app.router.add_get("/stats", _stats)
    app.router.add_get("/totals", _totals)
    app.router.add_delete("/stats", _forget)
    app.router.add_post("/configure", _configure)
    batches.add_to(app, server, files.add_to(app))
    embeddings.add_to(app)
    return app
