"""The backend against a server that replies as none should, directly and through the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from models.adapters.backends.openai import OpenAIBackend, path_and_body
from models.core.errors import AccessError, ModelError, RateLimited, StrayRefusal
from models.core.experiment.endpoints import Model
from models.core.types import Completion, Limits, Message, Request
from tests.openai_server.calls import ask, ask_backend
from tests.support.gateway import GatewayProcess
from tests.support.scripted_provider import ScriptedProvider, running_provider
from tests.support.scripted_replies import normal_text

ANY = Model(backend="openai", model="any")

MISSING = {"status": 404, "json": {"error": {"message": "no route"}}}
CASES: list[dict[str, Any]] = [
    {"name": "limited", "rows": [1], "times": 1, "reply": {"json": {"error": {"code": 429}}}},
    {"name": "stray", "rows": [2], "reply": MISSING},
    {"name": "absent", "rows": "all", "reply": MISSING},
    {"name": "gone", "rows": [2, 3, 4, 5, 6, 7, 8], "reply": MISSING},
    {"name": "daily", "rows": "all", "reply": {"headers": {
        "x-ratelimit-limit-requests": "50", "x-ratelimit-reset-requests": "3h0m0s",
        "x-ratelimit-limit-tokens": "9000", "x-ratelimit-reset-tokens": "6ms"}}},
]  # fmt: skip


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with running_provider(CASES) as running:
        yield running


def question(row: int, **params: object) -> Request:
    return Request("any", "m", (Message("user", f"ROW-{row} call its function"),), params=params)


def in_order(url: str, *requests: Request) -> list[Completion | ModelError]:
    """Ask one after the other through one backend."""

    async def ask_each() -> list[Completion | ModelError]:
        backend, outcomes = OpenAIBackend(ANY, url), []
        for request in requests:
            try:
                outcomes.append(await backend.complete(request))
            except ModelError as error:
                outcomes.append(error)
        await backend.close()
        return outcomes

    return asyncio.run(ask_each())


def test_an_error_inside_a_200_is_not_held_by_the_gateway(
    provider: ScriptedProvider, gateway: GatewayProcess
) -> None:
    client, url = gateway.client(), provider.url_of("limited")
    with pytest.raises(RateLimited):
        ask(url, question(1), client)
    assert ask(url, question(1), client).text == normal_text("ROW-1")


def test_a_404_is_stray_where_the_model_answers_other_calls(provider: ScriptedProvider) -> None:
    _, refused = in_order(provider.url_of("stray"), question(1), question(2))
    assert type(refused) is StrayRefusal


def test_a_404_to_the_first_call_is_the_configuration_s(provider: ScriptedProvider) -> None:
    [refused] = in_order(provider.url_of("absent"), question(1))
    assert type(refused) is AccessError


def test_a_model_that_is_gone_is_the_configuration_s(provider: ScriptedProvider) -> None:
    outcomes = in_order(provider.url_of("gone"), *(question(row) for row in range(1, 9)))
    assert type(outcomes[1]) is StrayRefusal
    assert type(outcomes[-1]) is AccessError


def test_a_limit_of_a_day_is_not_taken_as_one_of_a_minute(provider: ScriptedProvider) -> None:
    backends: list[OpenAIBackend] = []

    def opened() -> OpenAIBackend:
        backends.append(OpenAIBackend(ANY, provider.url_of("daily")))
        return backends[0]

    ask_backend(opened, [question(1)])
    assert backends[0].limits == Limits(None, 9000)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://api.openai.com/v1", {"max_completion_tokens": 64}),
        ("http://server/v1", {"max_tokens": 64}),
    ],
)
def test_the_official_api_gets_the_limit_under_its_new_name(url: str, sent: dict[str, int]) -> None:
    _, body = path_and_body(question(1, max_tokens=64), url)
    assert {name: body[name] for name in body.keys() - {"model", "messages"}} == sent
    assert (
        path_and_body(Request("any", "m", prompt="x", params={"max_tokens": 64}), url)[1]["max_tokens"] == 64
    )
