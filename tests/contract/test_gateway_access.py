"""The gateway: whom it serves, what it needs to start, and what nobody is told."""

from __future__ import annotations

import asyncio
import subprocess
import traceback
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from models.adapters.backends.gateway_client import GatewayClient
from models.core.errors import AccessError, ModelError, ServiceError, Unavailable
from models.core.types import Message
from tests.openai_server.calls import ask
from tests.openai_server.process import REPOSITORY, OpenAIServer
from tests.support.gateway import COMMAND, GATEWAY_TOKEN, KEY, QUESTION, GatewayProcess, failure
from tests.support.services import closed_port

TEXT = "a request that nobody may see"


def test_an_absent_gateway_is_named_and_not_the_provider(openai_server: OpenAIServer) -> None:
    with closed_port() as port:
        url = f"127.0.0.1:{port}"
        error = failure(openai_server.url, GatewayClient(f"http://:{GATEWAY_TOKEN}@{url}"))
    assert isinstance(error, Unavailable)
    assert f"the gateway http://{url}: no answer" in str(error)
    assert openai_server.url not in str(error)
    assert GATEWAY_TOKEN not in str(error)


def test_another_server_is_no_gateway(openai_server: OpenAIServer) -> None:
    server = openai_server.url.removesuffix("/v1")
    error = failure(openai_server.url, GatewayClient(server.replace("//", f"//:{GATEWAY_TOKEN}@")))
    assert isinstance(error, AccessError)
    assert f"{server} does not answer as a gateway; check STARMILL_GATEWAY_URL" in str(error)


@pytest.mark.parametrize("token", ["another-token", "%C3%BCmlaut", GATEWAY_TOKEN + "s"])
def test_a_worker_with_another_token_is_refused(
    token: str, gateway: GatewayProcess, openai_server: OpenAIServer
) -> None:
    setting = gateway.setting.replace(GATEWAY_TOKEN, token)
    if "%" in token:
        with pytest.raises(ServiceError, match="STARMILL_GATEWAY_URL"):
            GatewayClient(setting)
        return
    error = failure(openai_server.url, GatewayClient(setting))
    assert isinstance(error, AccessError)
    assert "refuses the token in STARMILL_GATEWAY_URL" in str(error)
    assert token not in str(error)
    assert openai_server.stats()["calls"] == 0


@pytest.mark.parametrize("given", [{}, {"X-Starmill-Token": "another"}, {"X-Starmill-Token": "ü"}], ids=str)
@pytest.mark.parametrize("path", ["/call", "/forget", "/health", "/elsewhere"])
def test_gateway_refuses_other_callers(path: str, given: dict[str, str], gateway: GatewayProcess) -> None:
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


def test_taken_port_is_named(gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARMILL_GATEWAY_URL", gateway.setting)
    ended = subprocess.run(COMMAND, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"the gateway cannot listen on {gateway.url.removeprefix('http://')}: ")


def test_errors_and_logs_hold_no_key_and_no_text(
    gateway: GatewayProcess, openai_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even at DEBUG, whatever goes wrong."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    asked = replace(QUESTION, messages=(Message("user", TEXT),))
    client = gateway.client()
    server = openai_server.url
    errors: list[ModelError] = []
    for settings in ({"key": "another"}, {"p500": 1}, {"pdrop": 1}, {"latency_ms": 1_000}):
        openai_server.configure(**settings)
        errors.append(failure(server, client, asked, timeout=0.2, api_key_env="OPENAI_API_KEY"))
    # Not the same request: the gateway may still wait for the last answer, and share it.
    other = replace(asked, messages=(Message("user", TEXT + "?"),))
    with closed_port() as port:
        errors.append(failure(f"http://127.0.0.1:{port}/v1", client, other))
        errors.append(failure(f"http://user:{KEY}@127.0.0.1:{port}/v1", client, other))
    openai_server.configure(key=KEY)
    ask(server, asked, client, api_key_env="OPENAI_API_KEY")
    client.forget([asked.key])
    asyncio.run(client.close())
    log = gateway.log.read_text()
    assert "no answer: ClientConnectorError" in log
    assert "no answer: ServerDisconnectedError" in log
    text = "".join("".join(traceback.format_exception(error)) for error in errors)
    for secret in (KEY, GATEWAY_TOKEN, TEXT):
        assert secret not in log
    assert KEY not in text
    assert GATEWAY_TOKEN not in text
    command = Path(f"/proc/{gateway.process.pid}/cmdline")
    if command.exists():
        assert GATEWAY_TOKEN.encode() not in command.read_bytes()
