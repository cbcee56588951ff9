"""One suite of tests for every backend."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from models.adapters.backends import open_backend
from models.adapters.backends.backend import Backend
from models.core.errors import BadRequest, ContextOverflow, ModelError
from models.core.experiment.endpoints import EMBEDDED_MODEL, Student
from models.core.types import Completion, Message, Request
from tests.openai_server.calls import ask, ask_backend
from tests.openai_server.process import OpenAIServer

Open = Callable[[], Backend]

PARAMS = {"temperature": 0, "max_tokens": 12}
# llama.cpp rounds differently where it finds the prompt in its cache.
UNCACHED = {"cache_prompt": False}
CHAT = Request("any", EMBEDDED_MODEL, (Message("user", "Count from one to ten."),), params=PARAMS)
PROMPT = Request("any", EMBEDDED_MODEL, prompt="one two three four five", params=PARAMS)


@pytest.fixture(params=["openai_server", "replicas", "llamacpp", "transformers"])
def opened(request: pytest.FixtureRequest) -> Open:
    """Opens a backend on the running loop."""
    if request.param == "transformers":
        from tests.support.language_models import tiny_llama

        folder = tiny_llama(request.getfixturevalue("tmp_path"))
        student = Student(backend="transformers", model=str(folder))
        return lambda: open_backend(student, None)
    if request.param == "llamacpp":
        urls = [request.getfixturevalue("llamacpp_url")]
    else:
        server: OpenAIServer = request.getfixturevalue("openai_server")
        server.configure(max_context=512)
        urls = [server.url]
    if request.param == "replicas":
        urls.append(urls[0].replace("127.0.0.1", "localhost"))
    student = Student(backend="server", model=EMBEDDED_MODEL, base_url=urls[0], replicas=urls[1:])
    return lambda: open_backend(student, None)


@pytest.fixture
def repeatable(request: pytest.FixtureRequest) -> dict[str, object]:
    """Parameters with which an answer is the same again."""
    here = request.node.callspec.params.get("opened") == "transformers"
    return PARAMS if here else {**PARAMS, **UNCACHED}


def one(opened: Open, request: Request) -> Completion:
    """One call. Raises ModelError."""
    (outcome,) = ask_backend(opened, [request])
    if isinstance(outcome, ModelError):
        raise outcome
    return outcome


@pytest.mark.parametrize("request_", [CHAT, PROMPT], ids=["chat", "completions"])
def test_both_endpoints_answer_and_count_tokens(opened: Open, request_: Request) -> None:
    completion = one(opened, request_)
    assert completion.text
    assert completion.refusal is None
    assert completion.finish_reason in ("stop", "length")
    assert completion.usage.prompt >= 5
    assert 1 <= completion.usage.completion <= 12
    assert 0 <= completion.usage.cached <= completion.usage.prompt


@pytest.mark.parametrize("request_", [CHAT, PROMPT], ids=["chat", "completions"])
def test_the_token_limit_is_told_apart_from_the_end(opened: Open, request_: Request) -> None:
    completion = one(opened, replace(request_, params={**PARAMS, "max_tokens": 3}))
    assert completion.finish_reason == "length"
    assert completion.usage.completion == 3


def test_stop_sequences_end_the_answer_and_are_left_out(opened: Open, repeatable: dict[str, object]) -> None:
    whole = one(opened, replace(PROMPT, params=repeatable)).text or ""
    stop = whole.split()[2]
    completion = one(opened, replace(PROMPT, params={**repeatable, "stop": [stop]}))
    assert completion.text == whole[: whole.index(stop)]
    assert completion.finish_reason == "stop"


def test_the_same_request_gets_the_same_answer(opened: Open, repeatable: dict[str, object]) -> None:
    seeded = replace(PROMPT, params={**repeatable, "temperature": 0.8, "seed": 7})
    assert one(opened, seeded).text == one(opened, seeded).text


@pytest.mark.parametrize("opened", ["openai_server", "replicas", "llamacpp"], indirect=True)
def test_a_repeated_prompt_is_counted_as_cached(opened: Open) -> None:
    one(opened, CHAT)
    # Servers behind one address have a cache each; there are no more than processors.
    servers = max(2, os.cpu_count() or 1)
    assert any(one(opened, CHAT).usage.cached > 0 for _ in range(servers))


@pytest.mark.parametrize("chat", [True, False], ids=["chat", "completions"])
def test_a_prompt_longer_than_the_context_overflows_it(opened: Open, chat: bool) -> None:
    text = "word " * 600
    request = replace(CHAT, messages=(Message("user", text),)) if chat else replace(PROMPT, prompt=text)
    with pytest.raises(ContextOverflow, match=r"status 400|no room for an answer"):
        one(opened, request)


def test_a_parameter_of_the_wrong_type_is_a_bad_request(opened: Open) -> None:
    request = replace(CHAT, params={"max_tokens": {"not": "a number"}})
    with pytest.raises(BadRequest) as caught:
        one(opened, request)
    assert not isinstance(caught.value, ContextOverflow)


def test_calls_in_flight_at_once_are_answered_apart(opened: Open) -> None:
    requests = [replace(PROMPT, prompt=f"{number} " * number) for number in range(2, 8)]
    counted = [
        outcome.usage.prompt for outcome in ask_backend(opened, requests) if isinstance(outcome, Completion)
    ]
    assert counted == sorted(set(counted))
    assert len(counted) == len(requests)


def test_local_sampling_parameters_reach_the_server(llamacpp_url: str) -> None:
    """top_k 1 leaves one token to choose from, however high the temperature."""
    hot = {**PARAMS, **UNCACHED, "temperature": 5.0}
    greedy = [ask(llamacpp_url, replace(PROMPT, params={**hot, "top_k": 1, "seed": s})).text for s in (1, 2)]
    free = [ask(llamacpp_url, replace(PROMPT, params={**hot, "seed": s})).text for s in (1, 2)]
    assert greedy[0] == greedy[1]
    assert free[0] != free[1]
