"""What every server behind `OpenAIBackend` has to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.endpoints import EMBEDDED_MODEL
from models.errors import BadRequest, ContextOverflow
from models.types import Completion, Message, Request
from tests.openai_server import OpenAIServer
from tests.openai_server.calls import ask, ask_all

PARAMS = {"temperature": 0, "max_tokens": 12}
# A server may round differently where it finds the prompt in its cache.
REPEATABLE = {**PARAMS, "cache_prompt": False}
CHAT = Request("any", EMBEDDED_MODEL, (Message("user", "Count from one to ten."),), params=PARAMS)
PROMPT = Request("any", EMBEDDED_MODEL, prompt="one two three four five", params=PARAMS)


@pytest.fixture(params=["openai_server", "llamacpp"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "llamacpp":
        return str(request.getfixturevalue("llamacpp_url"))
    server: OpenAIServer = request.getfixturevalue("openai_server")
    server.configure(max_context=512)
    return server.url


@pytest.mark.parametrize("request_", [CHAT, PROMPT], ids=["chat", "completions"])
def test_both_endpoints_answer_and_count_tokens(url: str, request_: Request) -> None:
    completion = ask(url, request_)
    assert completion.text
    assert completion.refusal is None
    assert completion.finish_reason in ("stop", "length")
    assert completion.usage.prompt >= 5
    assert 1 <= completion.usage.completion <= 12
    assert 0 <= completion.usage.cached <= completion.usage.prompt


@pytest.mark.parametrize("request_", [CHAT, PROMPT], ids=["chat", "completions"])
def test_the_token_limit_is_told_apart_from_the_end(url: str, request_: Request) -> None:
    completion = ask(url, replace(request_, params={**PARAMS, "max_tokens": 3}))
    assert completion.finish_reason == "length"
    assert completion.usage.completion == 3


def test_stop_sequences_end_the_answer_and_are_left_out(url: str) -> None:
    whole = ask(url, replace(PROMPT, params=REPEATABLE)).text or ""
    stop = whole.split()[2]
    completion = ask(url, replace(PROMPT, params={**REPEATABLE, "stop": [stop]}))
    assert completion.text == whole[: whole.index(stop)]
    assert completion.finish_reason == "stop"


def test_the_same_request_gets_the_same_answer(url: str) -> None:
    seeded = replace(PROMPT, params={**REPEATABLE, "temperature": 0.8, "seed": 7})
    assert ask(url, seeded).text == ask(url, seeded).text


def test_a_repeated_prompt_is_counted_as_cached(url: str) -> None:
    ask(url, CHAT)
    assert ask(url, CHAT).usage.cached > 0


@pytest.mark.parametrize("chat", [True, False], ids=["chat", "completions"])
def test_a_prompt_longer_than_the_context_overflows_it(url: str, chat: bool) -> None:
    text = "word " * 600
    request = replace(CHAT, messages=(Message("user", text),)) if chat else replace(PROMPT, prompt=text)
    with pytest.raises(ContextOverflow, match="status 400"):
        ask(url, request)


def test_a_parameter_of_the_wrong_type_is_a_bad_request(url: str) -> None:
    request = replace(CHAT, params={"max_tokens": {"not": "a number"}})
    with pytest.raises(BadRequest) as caught:
        ask(url, request)
    assert not isinstance(caught.value, ContextOverflow)


def test_calls_in_flight_at_once_are_answered_apart(url: str) -> None:
    requests = [replace(PROMPT, prompt=f"{number} " * number) for number in range(2, 8)]
    counted = [outcome.usage.prompt for outcome in ask_all(url, requests) if isinstance(outcome, Completion)]
    assert counted == sorted(set(counted))
    assert len(counted) == len(requests)


def test_local_sampling_parameters_reach_the_server(llamacpp_url: str) -> None:
    """top_k 1 leaves one token to choose from, however high the temperature."""
    hot = {**REPEATABLE, "temperature": 5.0}
    greedy = [ask(llamacpp_url, replace(PROMPT, params={**hot, "top_k": 1, "seed": s})).text for s in (1, 2)]
    free = [ask(llamacpp_url, replace(PROMPT, params={**hot, "seed": s})).text for s in (1, 2)]
    assert greedy[0] == greedy[1]
    assert free[0] != free[1]
