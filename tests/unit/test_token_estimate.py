"""Tokens before a call: a guess, and how usage mends it."""

from __future__ import annotations

import pytest

from models.core.tokens import TokenEstimate
from models.core.types import Message, Request, Usage

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


def test_estimate_accepts_missing_usage_and_empty_prompts() -> None:
    estimate = TokenEstimate()
    for request in (CHAT, Request("any", "m", prompt=""), Request("any", "m", prompt="\ud800")):
        estimate.learn(request, Usage())
        assert estimate.usage(request).prompt >= 0


def test_estimate_counts_bytes_of_the_language() -> None:
    latin, han = Request("any", "m", prompt="a" * 100), Request("any", "m", prompt="\u5217" * 100)
    assert TokenEstimate().usage(han).prompt > 2 * TokenEstimate().usage(latin).prompt
