"""Faults of the test server, and the error that each becomes."""

from __future__ import annotations

import asyncio
import socket
import time
import traceback
from email.utils import formatdate

import pytest

from models.adapters.backends import open_backend
from models.core.answers.checks import usable_text
from models.core.errors import (
    AccessError,
    ContextOverflow,
    ModelError,
    RateLimited,
    ServiceError,
    TimedOut,
    Unavailable,
)
from models.core.experiment.endpoints import Model
from models.core.types import Completion, Message, Rejection, Request
from tests.openai_server.behaviour import Window
from tests.openai_server.calls import ask, ask_all
from tests.openai_server.process import OpenAIServer

KEY = "sk-a-key-that-nobody-may-see"


def question(text: str = "sort a list", **params: object) -> Request:
    return Request("any", "some-model", (Message("user", text),), params=params)


DIFFERENT = [question(f"number {number}") for number in range(100)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"p429": 1}, RateLimited),
        ({"p500": 1}, Unavailable),
        ({"pdrop": 1}, Unavailable),
        ({"outage_s": 60}, Unavailable),
        ({"max_context": 1}, ContextOverflow),
        ({"model": "another"}, AccessError),
        ({"key": "another"}, AccessError),
    ],
    ids=str,
)
def test_each_fault_becomes_its_error(
    openai_server: OpenAIServer, settings: dict[str, object], expected: type[ModelError]
) -> None:
    openai_server.configure(**settings)
    with pytest.raises(ModelError) as caught:
        ask(openai_server.url, question())
    assert type(caught.value) is expected
    assert openai_server.url in str(caught.value)


@pytest.mark.parametrize(("kind", "reason"), [("html", "html"), ("truncated", "malformed")])
def test_body_that_is_no_completion_becomes_a_rejectable_answer(
    openai_server: OpenAIServer, kind: str, reason: str
) -> None:
    openai_server.configure(malformed=1, kinds=kind)
    verdict = usable_text(ask(openai_server.url, question()))
    assert isinstance(verdict, Rejection)
    assert verdict.reason == reason
    assert verdict.detail


def test_a_parameter_that_the_server_does_not_support_is_the_configuration_s(
    openai_server: OpenAIServer,
) -> None:
    with pytest.raises(AccessError, match="does not stream"):
        ask(openai_server.url, question(stream=True))


@pytest.mark.parametrize(
    ("kind", "text", "refused"), [("null", None, False), ("empty", "", False), ("refusal", None, True)]
)
def test_answers_without_content_pass_through_unchanged(
    openai_server: OpenAIServer, kind: str, text: str | None, refused: bool
) -> None:
    openai_server.configure(malformed=1, kinds=kind)
    completion = ask(openai_server.url, question())
    assert completion.text == text
    assert bool(completion.refusal) is refused
    assert completion.usage.completion > 0


def test_retry_after_in_seconds(openai_server: OpenAIServer) -> None:
    openai_server.configure(p429=1, retry_after="2.5")
    assert _wait_asked_for(openai_server) == 2.5


def test_retry_after_as_a_date(openai_server: OpenAIServer) -> None:
    openai_server.configure(p429=1, retry_after=formatdate(time.time() + 60, usegmt=True))
    assert _wait_asked_for(openai_server) == pytest.approx(60, abs=5)


def test_missing_retry_after_is_none(openai_server: OpenAIServer) -> None:
    openai_server.configure(p429=1)
    assert _wait_asked_for(openai_server) is None


@pytest.mark.parametrize(
    ("headers", "wait"), [(True, pytest.approx(59, abs=9)), (False, None)], ids=["told", "untold"]
)
def test_a_limit_of_requests_a_minute_holds(openai_server: OpenAIServer, headers: bool, wait: object) -> None:
    openai_server.configure(rpm=1, limit_headers=headers)
    ask(openai_server.url, question("first"))
    assert _wait_asked_for(openai_server) == wait


def _wait_asked_for(server: OpenAIServer) -> float | None:
    with pytest.raises(RateLimited) as caught:
        ask(server.url, question())
    return caught.value.retry_after


def test_an_unreachable_port_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="no answer"):
            ask(f"http://127.0.0.1:{unused.getsockname()[1]}/v1", question())


def test_a_server_that_never_answers_is_unavailable_in_time() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(TimedOut, match="no answer within"),
    ):
        ask(f"http://127.0.0.1:{silent.getsockname()[1]}/v1", question(), timeout=0.2)


def test_an_answer_that_trickles_in_does_not_outlive_the_timeout(openai_server: OpenAIServer) -> None:
    openai_server.configure(slow_body_ms=5_000)
    started = time.monotonic()
    with pytest.raises(TimedOut, match="no answer within"):
        ask(openai_server.url, question(), timeout=0.6)
    assert time.monotonic() - started < 4


def test_a_slow_body_arrives_whole(openai_server: OpenAIServer) -> None:
    at_once = ask(openai_server.url, question())
    openai_server.configure(slow_body_ms=100)
    assert ask(openai_server.url, question()).text == at_once.text


def test_no_more_calls_are_in_flight_than_allowed(openai_server: OpenAIServer) -> None:
    openai_server.configure(latency_ms=30)
    outcomes = ask_all(openai_server.url, DIFFERENT[:12], max_concurrency=3)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    stats = openai_server.stats()
    assert stats["in_flight_max"] == 3
    assert (stats["calls"], stats["answers"], stats["paid_again"]) == (12, 12, 0)


def test_a_call_that_is_bought_twice_is_counted(openai_server: OpenAIServer) -> None:
    ask(openai_server.url, question())
    ask(openai_server.url, question())
    ask(openai_server.url, question(seed=1))
    stats = openai_server.stats()
    assert sorted(stats["paid"].values()) == [1, 2]
    assert (stats["answers"], stats["paid_again"], stats["statuses"]) == (3, 1, {"200": 3})


def test_paid_tokens_are_summed_by_kind(openai_server: OpenAIServer) -> None:
    answers = [ask(openai_server.url, question()) for _ in range(2)]
    openai_server.configure(p500=1)
    with pytest.raises(Unavailable):
        ask(openai_server.url, question())  # costs nothing
    kinds = ("prompt", "cached", "completion")
    expected = {kind: sum(getattr(answer.usage, kind) for answer in answers) for kind in kinds}
    assert min(expected.values()) > 0
    assert openai_server.stats()["tokens_paid"] == expected


def test_max_per_minute_leaves_out_429s(openai_server: OpenAIServer) -> None:
    openai_server.configure(rpm=1)
    ask(openai_server.url, question("first"))
    for number in range(3):
        with pytest.raises(RateLimited):
            ask(openai_server.url, question(f"beyond {number}"))
    openai_server.configure(p500=1)
    with pytest.raises(Unavailable):
        ask(openai_server.url, question("admitted, then failed"))
    stats = openai_server.stats()
    assert (stats["most_in_a_minute"], stats["statuses"]["429"], stats["calls"]) == (2, 3, 5)


def test_the_first_call_is_dated_until_it_is_forgotten(openai_server: OpenAIServer) -> None:
    before = time.time()
    ask(openai_server.url, question("first"))
    first = openai_server.stats()["first_call_at"]
    assert before <= first <= time.time()
    ask(openai_server.url, question("second"))
    assert openai_server.stats()["first_call_at"] == first
    openai_server.forget()
    assert openai_server.stats()["first_call_at"] is None


def test_rate_window_slides() -> None:
    window = Window(seconds=60)
    for now in (0.0, 30.0, 59.9, 60.0, 200.0, 201.0):
        window.count(now)
    assert window.most == 3


def test_faults_repeat_and_come_in_their_share(openai_server: OpenAIServer) -> None:
    openai_server.configure(p429=0.3)

    def limited() -> list[bool]:
        openai_server.forget()
        return [isinstance(outcome, RateLimited) for outcome in ask_all(openai_server.url, DIFFERENT)]

    first = limited()
    assert limited() == first
    assert 15 <= sum(first) <= 45


def test_key_is_sent_and_never_shown(openai_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    openai_server.configure(key=KEY)
    assert ask(openai_server.url, question(), api_key_env="OPENAI_API_KEY").text
    openai_server.configure(key="another")  # the server now quotes the key that it refuses
    with pytest.raises(AccessError, match="set OPENAI_API_KEY") as caught:
        ask(openai_server.url, question(), api_key_env="OPENAI_API_KEY")
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_the_official_api_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(AccessError, match="set MY_KEY"):
        open_backend(Model(backend="openai", model="some-model", api_key_env="MY_KEY"), None)


def test_malformed_key_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY + "“")
    with pytest.raises(AccessError, match="MY_KEY") as caught:
        open_backend(Model(backend="openai", model="some-model", api_key_env="MY_KEY"), None)
    assert KEY not in str(caught.value)


def test_the_embedded_model_needs_its_server() -> None:
    with pytest.raises(ServiceError, match="--local"):
        open_backend(Model(backend="embedded"), None)


def test_the_embedded_server_gets_no_key(
    openai_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    openai_server.configure(key=KEY)

    async def once() -> None:
        backend = open_backend(Model(backend="embedded"), openai_server.url)
        try:
            await backend.complete(question())
        finally:
            await backend.close()

    with pytest.raises(AccessError):
        asyncio.run(once())
