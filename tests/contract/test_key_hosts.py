"""A key goes to the hosts that a model names and an operator allows, and nowhere else."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from models.adapters.backends import open_backend
from models.adapters.backends.batch_api import BatchClient
from models.adapters.backends.gateway_client import GatewayClient
from models.adapters.backends.openai import OpenAIBackend
from models.core.errors import AccessError, ModelError, ServiceError
from models.core.experiment.endpoints import Model
from models.core.experiment.key_hosts import ANY_HOST, KeyHosts, parse_key_hosts
from storage.settings import Settings, load_settings
from tests.openai_server.calls import ask_backend
from tests.support.gateway import QUESTION, GatewayProcess
from worker.clients import Clients

KEY, ACCOUNT = "sk-of-openai", "org-of-openai"
ANSWER = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "data": [], "has_more": False}
LISTED = parse_key_hosts("OPENAI_API_KEY=api.openai.com, *.example.com; TEAM_KEY=127.0.0.1")


class Listener(HTTPServer):
    """A server that notes the headers of its calls; with a `target` it redirects them there."""

    def __init__(self, target: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target = target
        self.headers: list[Mapping[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def holds(self, *secrets: str) -> bool:
        return any(secret in value for each in self.headers for value in each.values() for secret in secrets)


class Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        content = json.dumps(ANSWER).encode()
        self.send_response(307 if self.server.target else 200)
        if self.server.target:
            self.send_header("Location", self.server.target + self.path.removeprefix("/v1"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def servers() -> Iterator[tuple[Listener, Listener]]:
    """A server, and one that redirects to it under another host."""
    with ExitStack() as stack:
        end = stack.enter_context(Listener())
        first = stack.enter_context(Listener(end.url.replace("127.0.0.1", "localhost")))
        for server in (end, first):
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        yield end, first


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "TEAM_KEY"):
        monkeypatch.setenv(name, KEY)
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, ACCOUNT)


def call(model: Model, gateway: GatewayClient | None = None, key_hosts: KeyHosts = ANY_HOST) -> None:
    ask_backend(lambda: open_backend(model, None, gateway, key_hosts), [QUESTION])


def list_batches(model: Model) -> None:
    client = BatchClient(model)
    try:
        client.find_batch("mine", 0)
    finally:
        client.close()


def at(url: str, **settings: object) -> Model:
    return Model.model_validate({"backend": "openai", "model": "m", "base_url": url, **settings})


def test_a_server_gets_no_key_that_its_model_does_not_name(
    servers: tuple[Listener, Listener], gateway: GatewayProcess
) -> None:
    server, _ = servers
    call(at(server.url))
    call(at(server.url, backend="server", replicas=[server.url.replace("127.0.0.1", "localhost")]))
    call(at(server.url), gateway.client())
    list_batches(at(server.url))
    probed = OpenAIBackend(at(server.url), server.url)
    asyncio.run(_probe(probed))
    assert len(server.headers) >= 5
    assert not server.holds(KEY, ACCOUNT)


async def _probe(backend: OpenAIBackend) -> None:
    await backend.probe()
    await backend.close()


def test_a_key_that_is_named_is_sent(servers: tuple[Listener, Listener]) -> None:
    server, _ = servers
    call(at(server.url, api_key_env="OPENAI_API_KEY"))
    list_batches(at(server.url, api_key_env="OPENAI_API_KEY"))
    assert [each["authorization"] for each in server.headers] == [f"Bearer {KEY}"] * 2
    assert not server.holds(ACCOUNT)


@pytest.mark.parametrize(
    "keyed", [{"api_key_env": "TEAM_KEY"}, {"headers": {"api-key": "${TEAM_KEY}"}}], ids=str
)
def test_a_redirection_is_not_followed(
    servers: tuple[Listener, Listener], gateway: GatewayProcess, keyed: dict[str, object]
) -> None:
    end, first = servers
    call(at(first.url, **keyed))
    call(at(first.url, **keyed), gateway.client())
    with pytest.raises(ModelError, match="check the base_url"):
        list_batches(at(first.url, **keyed))
    assert len(first.headers) == 3
    assert end.headers == []


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        ({}, "OPENAI_API_KEY"),
        ({"base_url": "https://api.openai.com/v1/"}, "OPENAI_API_KEY"),
        ({"backend": "server", "base_url": "https://API.openai.com/v1"}, "OPENAI_API_KEY"),
        ({"base_url": "http://api.openai.com/v1"}, ""),
        ({"base_url": "https://api.openai.com.example.com/v1"}, ""),
        ({"backend": "server", "base_url": "https://api.openai.com/v1", "replicas": ["http://b/v1"]}, ""),
        ({"base_url": "http://127.0.0.1:8000/v1", "api_key_env": "OPENAI_API_KEY"}, "OPENAI_API_KEY"),
        ({"backend": "vllm"}, ""),
    ],
)
def test_only_openai_has_a_key_by_default(settings: dict[str, object], variable: str) -> None:
    assert Model.model_validate({"backend": "openai", "model": "m", **settings}).api_key_env == variable


def test_a_refused_call_without_a_key_names_the_remedy(servers: tuple[Listener, Listener]) -> None:
    with pytest.raises(AccessError, match="name the variable that holds a key of http://api"):
        open_backend(at("http://api.openai.com/v1"), None)


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        (at("http://localhost:1/v1", api_key_env="OPENAI_API_KEY"), "OPENAI_API_KEY"),
        (at("http://localhost:1/v1", headers={"X-Team": "${TEAM_KEY}"}), "TEAM_KEY"),
        (at("https://example.com/v1", query={"key": "${OPENAI_API_KEY}"}), "OPENAI_API_KEY"),
        (
            at("http://127.0.0.1/v1", backend="server", replicas=["http://b/v1"], api_key_env="TEAM_KEY"),
            "TEAM_KEY",
        ),
    ],
    ids=["key", "header", "query", "replica"],
)
def test_a_host_that_is_not_listed_gets_no_key(model: Model, variable: str, tmp_path: Path) -> None:
    line = rf"^model: {variable} may not be sent to \S+; add the host to {variable} in STARMILL_KEY_HOSTS of"
    with pytest.raises(AccessError, match=line):
        open_backend(model, None, None, LISTED)
    clients = Clients(Settings(home=tmp_path, key_hosts="NO=host;OTHER_KEY=*.example.com"), "worker")
    with pytest.raises(AccessError, match=line):
        clients.client(model)


def test_listed_hosts_get_theirs() -> None:
    for model in (
        at("http://127.0.0.1:1/v1", api_key_env="TEAM_KEY"),
        at("https://a.example.com/v1", query={"key": "${OPENAI_API_KEY}"}),
        at("http://anywhere/v1"),
        Model(backend="openai", model="m"),
    ):
        open_backend(model, None, None, LISTED)


@pytest.mark.parametrize("text", ["OPENAI_API_KEY", "=host", "KEY=", "KEY=a b", "KEY=http://host/v1"])
def test_a_list_that_cannot_be_read_is_one_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARMILL_KEY_HOSTS", text)
    with pytest.raises(ServiceError, match=r"^STARMILL_KEY_HOSTS=.*: .*give hosts by variable, as in"):
        load_settings()
