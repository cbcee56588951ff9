"""Tokens before a call: a guess, and how usage mends it."""

from __future__ import annotations

import pytest

from models.core.tokens import TokenEstimate
from models.core.types import Completion, Message, Request, Usage

ENGLISH = "Return a new list that holds the items of the iterable in ascending order. " * 8
CHAT = Request("any", "m", (Message("system", "Be brief."), Message("user", ENGLISH)))


def test_first_estimate_has_the_right_size() -> None:
    """tiktoken's o200k counts 16 tokens in the sentence."""
    guess = TokenEstimate().usage(CHAT)
    assert 0.7 < guess.prompt / (16 * 8 + 3 + 8) < 1.4


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_max_tokens_is_reserved_in_full(name: str) -> None:
    assert TokenEstimate().usage(Request("any", "m", prompt="x", params={name: 700})).completion == 700


def test_reported_usage_corrects_the_estimate() -> None:
    estimate = TokenEstimate()
    for _ in range(100):
        estimate.learn(CHAT, Usage(prompt=400, completion=30))
    guess = estimate.usage(CHAT)
    assert abs(guess.prompt - 400) < 12
    assert abs(guess.completion - 30) < 3


UNKNOWN = Usage(estimated=True)


def test_what_a_server_does_not_tell_is_charged_as_estimated() -> None:
    limited = Request("any", "m", prompt=ENGLISH, params={"max_tokens": 64})
    estimate = TokenEstimate()
    likely = estimate.usage(limited)
    charged = estimate.charged(limited, Completion("f(x)", "stop", UNKNOWN)).usage
    assert charged == Usage(likely.prompt, 0, 64, 0, estimated=True)
    partly = estimate.charged(limited, Completion("f(x)", "stop", Usage(0, 0, 7, 0, estimated=True))).usage
    assert partly == Usage(likely.prompt, 0, 7, 0, estimated=True)
    known = Completion("f(x)", "stop", Usage(1, 0, 2))
    assert estimate.charged(limited, known) == known


def test_without_a_limit_a_long_answer_is_charged_by_its_length() -> None:
    written = Completion("word " * 2000, "stop", UNKNOWN, None, "thought " * 1000)
    assert TokenEstimate().charged(CHAT, written).usage.completion > 3000


def test_estimates_teach_nothing() -> None:
    estimate = TokenEstimate()
    before = estimate.usage(CHAT)
    estimate.learn(CHAT, Usage(10**6, 0, 10**6, estimated=True))
    assert estimate.usage(CHAT) == before


def test_estimate_accepts_missing_usage_and_empty_prompts() -> None:
    estimate = TokenEstimate()
    for request in (CHAT, Request("any", "m", prompt=""), Request("any", "m", prompt="\ud800")):
        estimate.learn(request, Usage())
        assert estimate.usage(request).prompt >= 0


def test_estimate_counts_bytes_of_the_language() -> None:
    latin, han = Request("any", "m", prompt="a" * 100), Request("any", "m", prompt="\u5217" * 100)
    assert TokenEstimate().usage(han).prompt > 2 * TokenEstimate().usage(latin).prompt
