"""Servers of one model that are asked as one: nobody notices that one of them dies, and comes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from models.adapters.backends import open_backend, provider
from models.adapters.backends.backend import Backend
from models.core.errors import BadRequest, RateLimited, Unavailable
from models.core.experiment.endpoints import Student
from models.core.types import Completion, Request
from tests.openai_server.calls import ask_backend
from tests.openai_server.process import OpenAIServer, running
from tests.support.gateway import GatewayProcess, running_gateway

PROMPT = Request("any", "some-model", prompt="sort a list")
MANY = [replace(PROMPT, prompt=f"sort {number} lists", draw=(number, 0)) for number in range(32)]
DEAD = "http://127.0.0.1:9/v1"


@pytest.fixture
def other_server(second_openai_process: OpenAIServer) -> OpenAIServer:
    second_openai_process.configure()
    second_openai_process.forget()
    return second_openai_process


@pytest.fixture(scope="module")
def second_openai_process() -> Iterator[OpenAIServer]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def gateway() -> Iterator[GatewayProcess]:
    with running_gateway() as started:
        yield started


def student(*urls: str) -> Student:
    return Student(backend="server", model="some-model", base_url=urls[0], replicas=list(urls[1:]))


def opened(*urls: str) -> Backend:
    return open_backend(student(*urls), None)


def test_calls_in_flight_are_shared(openai_server: OpenAIServer, other_server: OpenAIServer) -> None:
    for server in (openai_server, other_server):
        server.configure(latency_ms=100)
    answers = ask_backend(lambda: opened(openai_server.url, other_server.url), MANY)
    assert all(isinstance(answer, Completion) for answer in answers)
    assert [server.stats()["calls"] for server in (openai_server, other_server)] == [16, 16]


def test_slow_replica_gets_fewer_calls(openai_server: OpenAIServer, other_server: OpenAIServer) -> None:
    openai_server.configure(latency_ms=400)
    other_server.configure(latency_ms=10)

    async def one_by_one() -> None:
        backend = opened(openai_server.url, other_server.url)
        waiting = list(MANY)

        async def customer() -> None:
            while waiting:
                await backend.complete(waiting.pop())

        await asyncio.gather(customer(), customer(), customer())
        await backend.close()

    asyncio.run(one_by_one())
    assert openai_server.stats()["calls"] < other_server.stats()["calls"]


def test_a_dead_replica_costs_no_row(openai_server: OpenAIServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="models.adapters.backends.replicas")
    answers = ask_backend(lambda: opened(DEAD, openai_server.url), MANY)
    assert all(isinstance(answer, Completion) for answer in answers)
    assert openai_server.stats()["answers"] == len(MANY)
    (messages,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert messages.startswith(f"{DEAD} is set aside")


def test_a_replica_that_fails_is_set_aside(openai_server: OpenAIServer, other_server: OpenAIServer) -> None:
    openai_server.configure(p500=1.0)

    async def one_by_one() -> None:
        backend = opened(openai_server.url, other_server.url)
        for request in MANY:
            await backend.complete(request)
        await backend.close()

    asyncio.run(one_by_one())
    assert openai_server.stats()["calls"] == 1
    assert other_server.stats()["answers"] == len(MANY)


def test_call_without_live_replica_is_unavailable(openai_server: OpenAIServer) -> None:
    openai_server.configure(p500=1.0)

    async def twice() -> None:
        backend = opened(DEAD, openai_server.url)
        with pytest.raises(Unavailable, match=r"status 500|no answer"):
            await backend.complete(PROMPT)
        with pytest.raises(Unavailable, match=f"none of the servers {DEAD}, {openai_server.url} answers"):
            await backend.complete(PROMPT)
        await backend.close()

    asyncio.run(twice())
    assert openai_server.stats()["calls"] == 1


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [({"model": "another"}, "404"), ({"max_context": 1}, BadRequest), ({"rpm": 1}, None)],
)
def test_answered_error_is_not_retried_on_another_replica(
    behaviour: dict[str, object], error: object, openai_server: OpenAIServer, other_server: OpenAIServer
) -> None:
    for server in (openai_server, other_server):
        server.configure(**behaviour)
    count = 3 if "rpm" in behaviour else 1
    answers = ask_backend(lambda: opened(openai_server.url, other_server.url), MANY[:count])
    assert openai_server.stats()["calls"] + other_server.stats()["calls"] == count
    if isinstance(error, type):
        assert isinstance(answers[0], error)
    elif error:
        assert str(error) in str(answers[0])
    else:
        assert sum(isinstance(answer, RateLimited) for answer in answers) >= 1


def test_replica_killed_and_restarted_midway_costs_no_row(
    openai_server: OpenAIServer, caplog: pytest.LogCaptureFixture
) -> None:
    openai_server.configure(latency_ms=50)
    caplog.set_level(logging.WARNING)
    with ExitStack() as first, ExitStack() as second:
        mortal = first.enter_context(running("--latency-ms", "50"))
        port = urlsplit(mortal.url).port

        async def ask_and_kill() -> None:
            backend = opened(openai_server.url, mortal.url)
            served = asyncio.Event()

            async def customer(number: int) -> int:
                calls = 0
                while not served.is_set():
                    await backend.complete(replace(PROMPT, draw=(number, calls)))
                    calls += 1
                return calls

            customers = asyncio.gather(*(customer(number) for number in range(8)))
            await _until_it_answers(mortal)
            await asyncio.to_thread(first.close)
            again = await asyncio.to_thread(second.enter_context, running("--port", str(port)))
            await _until_it_answers(again)
            served.set()
            assert sum(await customers) > 20
            await backend.close()

        asyncio.run(ask_and_kill())
    messages = [record.getMessage() for record in caplog.records]
    assert any(line.startswith(f"{mortal.url} is set aside") for line in messages)
    assert f"{mortal.url} is back" in messages


async def _until_it_answers(server: OpenAIServer) -> None:
    async with asyncio.timeout(30):
        while (await asyncio.to_thread(server.stats))["answers"] <= 10:  # noqa: ASYNC110 (another process)
            await asyncio.sleep(0.05)


def test_every_call_goes_through_the_gateway(
    gateway: GatewayProcess, openai_server: OpenAIServer, other_server: OpenAIServer
) -> None:
    """A replica comes back through it as well: by a call, since a gateway passes on nothing else."""
    openai_server.configure(outage_s=0.2)
    client = gateway.client()

    async def ask() -> None:
        backend = open_backend(student(DEAD, openai_server.url, other_server.url), None, client)
        await asyncio.gather(*(backend.complete(request) for request in MANY))
        await asyncio.sleep(0.7)
        await asyncio.gather(*(backend.complete(replace(each, draw=(0, 1))) for each in MANY))
        await backend.close()

    asyncio.run(ask())
    assert gateway.health()["held"] == 2 * len(MANY)
    assert openai_server.stats()["answers"] > 0
    assert openai_server.stats()["answers"] + other_server.stats()["answers"] == 2 * len(MANY)


def test_the_identity_of_a_request_is_that_of_the_first() -> None:
    assert provider(student("http://a/v1", "http://b/v1")) == provider(student("http://a/v1")) == "a/v1"
