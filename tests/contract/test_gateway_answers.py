"""The gateway: answers, errors and limits, and what the provider sees, are as without it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from models.adapters.backends import open_backend
from models.adapters.backends.gateway_client import GatewayClient
from models.adapters.backends.openai import OpenAIBackend
from models.core.errors import RateLimited, TimedOut, Unavailable
from models.core.experiment.endpoints import Model
from models.core.types import Completion, Limits, Request
from tests.openai_server.calls import ask, ask_all
from tests.openai_server.process import OpenAIServer
from tests.support.gateway import GATEWAY_TOKEN, KEY, PROMPT, QUESTION, GatewayProcess, failure
from tests.support.services import closed_port

FAULTS: list[dict[str, object]] = [
    {"p429": 1},
    {"p429": 1, "retry_after": "2.5"},
    {"p500": 1},
    {"outage_s": 60},
    {"max_context": 1},
    {"model": "another"},
    {"key": "another"},
]


@pytest.mark.parametrize("settings", FAULTS, ids=str)
def test_provider_errors_pass_through_and_are_not_cached(
    gateway: GatewayProcess,
    openai_server: OpenAIServer,
    settings: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    openai_server.configure(**settings)
    directly = failure(openai_server.url, api_key_env="OPENAI_API_KEY")
    through = failure(openai_server.url, gateway.client(), api_key_env="OPENAI_API_KEY")
    assert type(through) is type(directly)
    assert str(through) == str(directly)
    assert getattr(through, "retry_after", None) == getattr(directly, "retry_after", None)
    assert gateway.health() == {"running": 0, "held": 0, "held_bytes": 0}
    openai_server.configure(key=KEY)
    assert ask(openai_server.url, QUESTION, gateway.client(), api_key_env="OPENAI_API_KEY").text


def test_a_date_to_wait_for_is_read_by_the_clock_of_the_provider(
    gateway: GatewayProcess, openai_server: OpenAIServer
) -> None:
    openai_server.configure(p429=1, retry_after=formatdate(time.time() + 60, usegmt=True))
    error = failure(openai_server.url, gateway.client())
    assert isinstance(error, RateLimited)
    assert error.retry_after == pytest.approx(60, abs=5)


@pytest.mark.parametrize("kind", ["null", "empty", "html", "truncated", "refusal"])
def test_malformed_answers_pass_through_unchanged(
    kind: str, gateway: GatewayProcess, openai_server: OpenAIServer
) -> None:
    openai_server.configure(malformed=1, kinds=kind)
    directly = ask(openai_server.url, QUESTION)
    openai_server.forget()
    assert ask(openai_server.url, QUESTION, gateway.client()) == directly


@pytest.mark.parametrize("request_", [QUESTION, PROMPT], ids=["chat", "completions"])
def test_answers_and_limits_pass_through_unchanged(
    request_: Request, gateway: GatewayProcess, openai_server: OpenAIServer
) -> None:
    openai_server.configure(rpm=6000, tpm=90_000)

    async def through(client: GatewayClient | None) -> tuple[Completion, Limits]:
        backend = OpenAIBackend(Model(backend="openai", model="any"), openai_server.url, client)
        try:
            return await backend.complete(request_), backend.limits
        finally:
            await backend.close()

    directly = asyncio.run(through(None))
    assert directly[1] == Limits(6000, 90_000)
    openai_server.forget()
    assert asyncio.run(through(gateway.client())) == directly


def test_provider_gets_the_same_requests_as_without_gateway(
    gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with listener() as (url, seen):
        ask(url, PROMPT, api_key_env="OPENAI_API_KEY")
        ask(url, PROMPT, gateway.client(), api_key_env="OPENAI_API_KEY")
    directly, through = seen
    assert "Bearer " + KEY in directly.values()
    assert through == directly


def test_failed_call_raises_for_every_waiting_caller(
    gateway: GatewayProcess, openai_server: OpenAIServer
) -> None:
    openai_server.configure(pdrop=1, latency_ms=100)
    outcomes = ask_all(openai_server.url, [QUESTION, QUESTION], gateway.client())
    assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable]
    assert openai_server.stats()["calls"] == 1
    host = openai_server.url.removeprefix("http://").removesuffix("/v1")
    assert f"{host}: no answer: ServerDisconnectedError" in str(outcomes[0])
    assert gateway.url in str(outcomes[0])


def test_a_call_without_end_ends_with_its_timeout(
    gateway: GatewayProcess, openai_server: OpenAIServer
) -> None:
    openai_server.configure(latency_ms=1_000)
    assert isinstance(failure(openai_server.url, gateway.client(), timeout=0.2), TimedOut)
    while gateway.health()["running"]:
        time.sleep(0.01)
    openai_server.configure()
    assert ask(openai_server.url, QUESTION, gateway.client()).text


def test_the_embedded_model_is_asked_directly(openai_server: OpenAIServer) -> None:
    async def once(port: int) -> Completion:
        absent = GatewayClient(f"http://:{GATEWAY_TOKEN}@127.0.0.1:{port}")
        backend = open_backend(Model(backend="embedded"), openai_server.url, absent)
        try:
            return await backend.complete(QUESTION)
        finally:
            await backend.close()

    with closed_port() as port:
        assert asyncio.run(once(port)).text


@contextmanager
def listener() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that keeps the headers and the body of each call."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append({**self.headers, "path": self.path, "body": body.decode()})
            answer = json.dumps({"choices": [{"text": "an answer", "finish_reason": "stop"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", seen
        finally:
            server.shutdown()
            serving.join()
