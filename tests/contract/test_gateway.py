"""The gateway: a call outlives the worker that made it, and is paid once; all else is as without it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from models.backends import open_backend
from models.backends.gateway import KEYS_AT_ONCE, Gateway
from models.backends.openai import OpenAIBackend
from models.endpoints import Endpoint, Teacher
from models.errors import AccessError, ModelError, RateLimited, ServiceError, Unavailable
from models.types import Completion, Limits, Message, Request
from tests.gateway import COMMAND, GATEWAY_TOKEN, GatewayProcess, running_gateway
from tests.openai_server import OpenAIServer
from tests.openai_server.calls import ask, ask_all
from tests.openai_server.process import REPOSITORY

KEY = "sk-a-key-that-nobody-may-see"
TEXT = "a request that nobody may see"
QUESTION = Request("any", "some-model", (Message("user", "sort a list"),))
PROMPT = Request("any", "some-model", prompt="sort a list")
OTHER = replace(QUESTION, messages=(Message("user", "reverse a list in place"),))


@pytest.fixture(scope="module")
def process() -> Iterator[GatewayProcess]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STARMILL_LOG_LEVEL", "DEBUG")
        with running_gateway() as started:
            yield started


@pytest.fixture
def gateway(process: GatewayProcess, openai_server: OpenAIServer) -> GatewayProcess:
    """Holds nothing that these tests ask for."""
    process.forget(QUESTION.key, PROMPT.key, OTHER.key)
    assert process.health() == {"running": 0, "held": 0, "held_bytes": 0}
    return process


def test_callers_that_ask_the_same_at_once_share_one_call(
    gateway: GatewayProcess, openai_server: OpenAIServer
) -> None:
    openai_server.configure(latency_ms=100)
    one, two, other = ask_all(openai_server.url, [QUESTION, QUESTION, OTHER], gateway.client())
    assert isinstance(one, Completion)
    assert one == two != other
    assert openai_server.stats()["calls"] == 2


def test_an_answer_is_held_until_it_is_forgotten(
    gateway: GatewayProcess, openai_server: OpenAIServer
) -> None:
    first = ask(openai_server.url, QUESTION, gateway.client())
    assert ask(openai_server.url, QUESTION, gateway.client()) == first
    assert openai_server.stats()["calls"] == 1
    assert gateway.health()["held"] == 1
    assert gateway.health()["held_bytes"] > len(first.text or "")
    gateway.forget(QUESTION.key)
    assert gateway.health() == {"running": 0, "held": 0, "held_bytes": 0}
    ask(openai_server.url, QUESTION, gateway.client())
    assert openai_server.stats()["calls"] == 2


def test_a_call_outlives_the_worker_that_made_it(
    gateway: GatewayProcess, openai_server: OpenAIServer
) -> None:
    openai_server.configure(latency_ms=500)
    with asking_process(gateway, openai_server) as worker:
        wait_for_calls_in_flight(openai_server)
        worker.kill()
    assert gateway.health()["running"] == 1
    completion = ask(openai_server.url, QUESTION, gateway.client())
    assert "sort a list" not in (completion.text or "")
    assert completion.usage.completion > 0
    assert ask(openai_server.url, QUESTION, gateway.client()) == completion
    stats = openai_server.stats()
    assert (stats["calls"], stats["answers"], stats["paid_again"]) == (1, 1, 0)


def test_the_next_call_tells_what_was_committed(gateway: GatewayProcess, openai_server: OpenAIServer) -> None:
    client = gateway.client()
    ask_all(openai_server.url, [QUESTION, PROMPT], client)
    assert gateway.health()["held"] == 2
    client.forget([QUESTION.key, PROMPT.key])
    ask(openai_server.url, OTHER, client)
    assert gateway.health()["held"] == 1


def test_more_keys_than_fit_into_one_notice_go_with_several(
    gateway: GatewayProcess, openai_server: OpenAIServer
) -> None:
    client = gateway.client()
    requests = [replace(QUESTION, draw=(number, 0)) for number in range(2 * KEYS_AT_ONCE + 1)]
    ask_all(openai_server.url, requests, client)
    assert gateway.health()["held"] == len(requests)
    client.forget(request.key for request in requests)
    ask(openai_server.url, OTHER, client)
    assert gateway.health()["held"] == len(requests) - KEYS_AT_ONCE + 1
    asyncio.run(client.close())
    assert gateway.health()["held"] == 1


def test_a_worker_that_closes_does_not_mind_that_the_gateway_is_gone() -> None:
    client = Gateway(f"http://:{GATEWAY_TOKEN}@127.0.0.1:{closed_port()}")
    client.forget([QUESTION.key])
    asyncio.run(client.close())


def test_a_call_in_flight_is_not_forgotten(gateway: GatewayProcess, openai_server: OpenAIServer) -> None:
    openai_server.configure(latency_ms=300)
    with asking_process(gateway, openai_server) as worker:
        wait_for_calls_in_flight(openai_server)
        gateway.forget(QUESTION.key)
        assert worker.wait(10) == 0
    ask(openai_server.url, QUESTION, gateway.client())
    assert openai_server.stats()["calls"] == 1


@pytest.mark.parametrize("option", ["--hold-seconds", "--hold-mib"])
def test_what_may_not_be_held_is_bought_again(option: str, openai_server: OpenAIServer) -> None:
    with running_gateway(option, "0") as gateway:
        ask(openai_server.url, QUESTION, gateway.client())
        assert gateway.health() == {"running": 0, "held": 0, "held_bytes": 0}
        ask(openai_server.url, QUESTION, gateway.client())
    assert openai_server.stats()["answers"] == 2


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
def test_errors_are_those_of_the_provider_and_are_not_held(
    gateway: GatewayProcess,
    openai_server: OpenAIServer,
    settings: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    openai_server.configure(**settings)
    directly, through = failure(openai_server.url), failure(openai_server.url, gateway.client())
    assert type(through) is type(directly)
    assert str(through) == str(directly)
    assert getattr(through, "retry_after", None) == getattr(directly, "retry_after", None)
    assert gateway.health() == {"running": 0, "held": 0, "held_bytes": 0}
    openai_server.configure(key=KEY)
    assert ask(openai_server.url, QUESTION, gateway.client()).text


def test_a_date_to_wait_for_is_read_by_the_clock_of_the_provider(
    gateway: GatewayProcess, openai_server: OpenAIServer
) -> None:
    openai_server.configure(p429=1, retry_after=formatdate(time.time() + 60, usegmt=True))
    error = failure(openai_server.url, gateway.client())
    assert isinstance(error, RateLimited)
    assert error.retry_after == pytest.approx(60, abs=5)


@pytest.mark.parametrize("kind", ["null", "empty", "html", "truncated", "refusal"])
def test_malformed_answers_come_as_they_are(
    kind: str, gateway: GatewayProcess, openai_server: OpenAIServer
) -> None:
    openai_server.configure(malformed=1, kinds=kind)
    directly = ask(openai_server.url, QUESTION)
    openai_server.forget()
    assert ask(openai_server.url, QUESTION, gateway.client()) == directly


@pytest.mark.parametrize("request_", [QUESTION, PROMPT], ids=["chat", "completions"])
def test_answers_and_limits_come_as_they_are(
    request_: Request, gateway: GatewayProcess, openai_server: OpenAIServer
) -> None:
    openai_server.configure(rpm=6000, tpm=90_000)

    async def through(client: Gateway | None) -> tuple[Completion, Limits]:
        backend = OpenAIBackend(Endpoint(), openai_server.url, client)
        try:
            return await backend.complete(request_), backend.limits
        finally:
            await backend.close()

    directly = asyncio.run(through(None))
    assert directly[1] == Limits(6000, 90_000)
    openai_server.forget()
    assert asyncio.run(through(gateway.client())) == directly


def test_the_provider_sees_what_it_sees_without_a_gateway(
    gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with listener() as (url, seen):
        ask(url, PROMPT)
        ask(url, PROMPT, gateway.client())
    directly, through = seen
    assert "Bearer " + KEY in directly.values()
    assert through == directly


def test_a_broken_call_is_an_error_for_all_who_wait(
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
    assert isinstance(failure(openai_server.url, gateway.client(), timeout=0.2), Unavailable)
    while gateway.health()["running"]:
        time.sleep(0.01)
    openai_server.configure()
    assert ask(openai_server.url, QUESTION, gateway.client()).text


def test_an_absent_gateway_is_named_and_not_the_provider(openai_server: OpenAIServer) -> None:
    url = f"127.0.0.1:{closed_port()}"
    error = failure(openai_server.url, Gateway(f"http://:{GATEWAY_TOKEN}@{url}"))
    assert isinstance(error, Unavailable)
    assert f"the gateway http://{url}: no answer" in str(error)
    assert openai_server.url not in str(error)
    assert GATEWAY_TOKEN not in str(error)


def test_another_server_is_no_gateway(openai_server: OpenAIServer) -> None:
    server = openai_server.url.removesuffix("/v1")
    error = failure(openai_server.url, Gateway(server.replace("//", f"//:{GATEWAY_TOKEN}@")))
    assert isinstance(error, AccessError)
    assert f"{server} does not answer as a gateway; check STARMILL_GATEWAY_URL" in str(error)


@pytest.mark.parametrize("token", ["another-token", "%C3%BCmlaut", GATEWAY_TOKEN + "s"])
def test_a_worker_with_another_token_is_refused(
    token: str, gateway: GatewayProcess, openai_server: OpenAIServer
) -> None:
    setting = gateway.setting.replace(GATEWAY_TOKEN, token)
    if "%" in token:
        with pytest.raises(ServiceError, match="STARMILL_GATEWAY_URL"):
            Gateway(setting)
        return
    error = failure(openai_server.url, Gateway(setting))
    assert isinstance(error, AccessError)
    assert "refuses the token in STARMILL_GATEWAY_URL" in str(error)
    assert token not in str(error)
    assert openai_server.stats()["calls"] == 0


@pytest.mark.parametrize("given", [{}, {"X-Starmill-Token": "another"}, {"X-Starmill-Token": "ü"}], ids=str)
@pytest.mark.parametrize("path", ["/call", "/forget", "/health", "/elsewhere"])
def test_nobody_else_is_served(path: str, given: dict[str, str], gateway: GatewayProcess) -> None:
    method = "GET" if path == "/health" else "POST"
    request = urllib.request.Request(gateway.url + path, headers=given, method=method)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value:
        assert refused.value.code == 401


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (None, "set STARMILL_GATEWAY_URL"),
        ("http://127.0.0.1:0", "is not a URL with a token"),
        (f"{GATEWAY_TOKEN}@127.0.0.1:0", "is not a URL with a token"),
        (f"http://:{GATEWAY_TOKEN}@127.0.0.1:port", "is not a URL with a token"),
        (f"http://:{GATEWAY_TOKEN}@:0", "is not a URL with a token"),
        (f"redis://:{GATEWAY_TOKEN}@127.0.0.1:0", "is not a URL with a token"),
    ],
)
def test_without_a_token_it_does_not_start(
    setting: str | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if setting:
        monkeypatch.setenv("STARMILL_GATEWAY_URL", setting)
    ended = subprocess.run(COMMAND, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert says in line
    assert GATEWAY_TOKEN not in line


def test_a_port_that_is_taken_is_told(gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARMILL_GATEWAY_URL", gateway.setting)
    ended = subprocess.run(COMMAND, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"the gateway cannot listen on {gateway.url.removeprefix('http://')}: ")


def test_at_sigterm_calls_that_are_waited_for_are_answered(openai_server: OpenAIServer) -> None:
    openai_server.configure(latency_ms=500)
    with running_gateway() as gateway, asking_process(gateway, openai_server) as worker:
        wait_for_calls_in_flight(openai_server)
        gateway.process.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
        assert gateway.process.wait(10) == 0
        error = failure(openai_server.url, gateway.client())
    assert isinstance(error, Unavailable)


def test_the_embedded_model_is_asked_directly(openai_server: OpenAIServer) -> None:
    absent = Gateway(f"http://:{GATEWAY_TOKEN}@127.0.0.1:{closed_port()}")

    async def once() -> Completion:
        backend = open_backend(Teacher(backend="embedded"), openai_server.url, absent)
        try:
            return await backend.complete(QUESTION)
        finally:
            await backend.close()

    assert asyncio.run(once()).text


def test_neither_keys_nor_texts_are_told(
    gateway: GatewayProcess, openai_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even at DEBUG, whatever goes wrong."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    asked = replace(QUESTION, messages=(Message("user", TEXT),))
    client = gateway.client()
    server, absent = openai_server.url, f"http://127.0.0.1:{closed_port()}/v1"
    with_password = f"http://user:{KEY}@127.0.0.1:{closed_port()}/v1"
    errors: list[ModelError] = []
    for settings in ({"key": "another"}, {"p500": 1}, {"pdrop": 1}, {"latency_ms": 1_000}):
        openai_server.configure(**settings)
        errors.append(failure(server, client, asked, timeout=0.2))
    errors += [failure(absent, client, asked), failure(with_password, client, asked)]
    openai_server.configure(key=KEY)
    ask(server, asked, client)
    client.forget([asked.key])
    asyncio.run(client.close())
    log = gateway.log.read_text()
    assert "no answer: ClientConnectorError" in log
    assert "no answer: ServerDisconnectedError" in log
    said = "".join("".join(traceback.format_exception(error)) for error in errors)
    for secret in (KEY, GATEWAY_TOKEN, TEXT):
        assert secret not in log
    assert KEY not in said
    assert GATEWAY_TOKEN not in said
    command = Path(f"/proc/{gateway.process.pid}/cmdline")
    if command.exists():
        assert GATEWAY_TOKEN.encode() not in command.read_bytes()


def failure(
    url: str, gateway: Gateway | None = None, request: Request = QUESTION, **settings: object
) -> ModelError:
    with pytest.raises(ModelError) as caught:
        ask(url, request, gateway, **settings)
    return caught.value


@contextmanager
def asking_process(gateway: GatewayProcess, server: OpenAIServer) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own that asks QUESTION, and ends with 0 when it is answered."""
    code = (
        "import sys; from tests.contract.test_gateway import QUESTION; "
        "from models.backends.gateway import Gateway; from tests.openai_server.calls import ask; "
        "ask(sys.argv[1], QUESTION, Gateway(sys.argv[2]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, server.url, gateway.setting], cwd=REPOSITORY
    ) as process:
        yield process


def wait_for_calls_in_flight(server: OpenAIServer) -> None:
    while not server.stats()["in_flight"]:
        time.sleep(0.01)


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


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
