"""The gateway: a call outlives the worker that made it, and is paid once."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from models.adapters.backends.gateway_client import KEYS_PER_HEADER, GatewayClient
from models.core.errors import Unavailable
from models.core.types import Completion
from tests.openai_server.calls import ask, ask_all
from tests.openai_server.process import REPOSITORY, OpenAIServer
from tests.support.gateway import (
    GATEWAY_TOKEN,
    OTHER,
    PROMPT,
    QUESTION,
    GatewayProcess,
    failure,
    running_gateway,
)
from tests.support.services import closed_port


def test_callers_that_ask_the_same_at_once_share_one_call(
    gateway: GatewayProcess, openai_server: OpenAIServer
) -> None:
    openai_server.configure(latency_ms=100)
    one, two, other = ask_all(openai_server.url, [QUESTION, QUESTION, OTHER], gateway.client())
    assert isinstance(one, Completion)
    assert one == two != other
    assert openai_server.stats()["calls"] == 2


def test_answer_is_cached_until_forgotten(gateway: GatewayProcess, openai_server: OpenAIServer) -> None:
    first = ask(openai_server.url, QUESTION, gateway.client())
    assert ask(openai_server.url, QUESTION, gateway.client()) == first
    assert openai_server.stats()["calls"] == 1
    assert gateway.health()["held"] == 1
    assert gateway.health()["held_bytes"] > len(first.text or "")
    gateway.forget(QUESTION.key)
    assert gateway.health() == {"running": 0, "held": 0, "held_bytes": 0}
    ask(openai_server.url, QUESTION, gateway.client())
    assert openai_server.stats()["calls"] == 2


def test_call_survives_the_death_of_its_worker(gateway: GatewayProcess, openai_server: OpenAIServer) -> None:
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


def test_next_call_reports_committed_keys(gateway: GatewayProcess, openai_server: OpenAIServer) -> None:
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
    requests = [replace(QUESTION, draw=(number, 0)) for number in range(2 * KEYS_PER_HEADER + 1)]
    ask_all(openai_server.url, requests, client)
    assert gateway.health()["held"] == len(requests)
    client.forget(request.key for request in requests)
    ask(openai_server.url, OTHER, client)
    assert gateway.health()["held"] == len(requests) - KEYS_PER_HEADER + 1
    asyncio.run(client.close())
    assert gateway.health()["held"] == 1


def test_worker_closes_without_a_gateway() -> None:
    with closed_port() as port:
        client = GatewayClient(f"http://:{GATEWAY_TOKEN}@127.0.0.1:{port}")
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
def test_answer_beyond_cache_limits_is_bought_again(option: str, openai_server: OpenAIServer) -> None:
    with running_gateway(option, "0") as gateway:
        ask(openai_server.url, QUESTION, gateway.client())
        assert gateway.health() == {"running": 0, "held": 0, "held_bytes": 0}
        ask(openai_server.url, QUESTION, gateway.client())
    assert openai_server.stats()["answers"] == 2


def test_at_sigterm_calls_that_are_waited_for_are_answered(openai_server: OpenAIServer) -> None:
    openai_server.configure(latency_ms=500)
    with running_gateway() as gateway, asking_process(gateway, openai_server) as worker:
        wait_for_calls_in_flight(openai_server)
        gateway.process.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
        assert gateway.process.wait(10) == 0
        error = failure(openai_server.url, gateway.client())
    assert isinstance(error, Unavailable)


@contextmanager
def asking_process(gateway: GatewayProcess, server: OpenAIServer) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own that asks QUESTION, and ends with 0 when it is answered."""
    code = (
        "import sys; from tests.support.gateway import QUESTION; "
        "from models.adapters.backends.gateway_client import GatewayClient; "
        "from tests.openai_server.calls import ask; "
        "ask(sys.argv[1], QUESTION, GatewayClient(sys.argv[2]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, server.url, gateway.setting], cwd=REPOSITORY
    ) as process:
        yield process


def wait_for_calls_in_flight(server: OpenAIServer) -> None:
    while not server.stats()["in_flight"]:
        time.sleep(0.01)
