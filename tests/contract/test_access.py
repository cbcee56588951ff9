"""Headers and query parameters of a model reach its server with every call; what they hold is never shown."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from models.adapters.backends import limit_name, open_backend, provider
from models.adapters.backends.batch_api import BatchClient
from models.core.errors import AccessError
from models.core.experiment.endpoints import Model
from models.core.types import Completion, Message, Request
from tests.openai_server.calls import ask_backend
from tests.support.gateway import GatewayProcess

SECRET = "a-very-secret-key"
HEADERS = {"api-key": "${AZURE_KEY}", "X-Team": "data ${TEAM}"}
QUERY = {"api-version": "2024-10-21"}
QUESTION = Request("any", "m", (Message("user", "Hello"),))
ANSWER = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
BATCHES = {"object": "list", "data": [], "has_more": False}


class Seen(HTTPServer):
    """A server that notes what it was sent. It refuses, and quotes, another key."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls: list[tuple[str, dict[str, list[str]], dict[str, str]]] = []
        self.key = SECRET

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Seen

    def do_GET(self) -> None:
        self._answer(BATCHES)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(ANSWER)

    def _answer(self, body: object) -> None:
        url, headers = urlsplit(self.path), {name.lower(): value for name, value in self.headers.items()}
        self.server.calls.append((url.path, parse_qs(url.query), headers))
        refused = headers.get("api-key") != self.server.key
        content = json.dumps({"error": f"wrong key {headers.get('api-key')}"} if refused else body).encode()
        self.send_response(401 if refused else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Seen]:
    with Seen() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_KEY", SECRET)
    monkeypatch.setenv("TEAM", "red")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")


def model(server: Seen, **settings: object) -> Model:
    given = {"backend": "openai", "model": "m", "base_url": server.url, "headers": HEADERS, "query": QUERY}
    return Model.model_validate(given | settings)


def assert_seen(server: Seen, path: str) -> None:
    [(called, query, headers)] = server.calls
    assert called == f"/v1{path}"
    assert query["api-version"] == ["2024-10-21"]
    assert (headers["api-key"], headers["x-team"]) == (SECRET, "data red")
    # A key of another service is not sent beside it.
    assert "authorization" not in headers


@pytest.mark.parametrize("backend", ["openai", "server"])
def test_headers_and_query_are_sent(server: Seen, backend: str) -> None:
    [answer] = ask_backend(lambda: open_backend(model(server, backend=backend), None), [QUESTION])
    assert isinstance(answer, Completion)
    assert_seen(server, "/chat/completions")


def test_they_pass_through_the_gateway(server: Seen, gateway: GatewayProcess) -> None:
    [answer] = ask_backend(lambda: open_backend(model(server), None, gateway.client()), [QUESTION])
    assert isinstance(answer, Completion)
    assert_seen(server, "/chat/completions")


def test_they_are_sent_to_the_batch_api(server: Seen) -> None:
    client = BatchClient(model(server))
    assert client.find_batch("mine", 0) is None
    client.close()
    assert_seen(server, "/batches")


def test_a_refused_header_is_named_by_its_variable_and_not_quoted(server: Seen) -> None:
    server.key = "another"
    [error] = ask_backend(lambda: open_backend(model(server), None), [QUESTION])
    assert isinstance(error, AccessError)
    assert "the key in AZURE_KEY is refused" in str(error)
    assert SECRET not in str(error)


def test_a_variable_that_is_not_set_is_one_line(server: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEAM")
    with pytest.raises(AccessError, match=r"^model: headers\.X-Team: set TEAM in the environment of the w"):
        open_backend(model(server), None)


def test_the_official_api_takes_its_key_from_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    open_backend(Model(backend="openai", model="m", headers={"Authorization": "Bearer ${AZURE_KEY}"}), None)


def test_limits_are_those_of_the_key_in_a_header_and_requests_are_the_same(server: Seen) -> None:
    one, other = model(server), model(server, headers={"api-key": "${OTHER_KEY}"})
    assert limit_name(one) != limit_name(other)
    assert SECRET not in limit_name(one)
    assert provider(one) == provider(other)
