"""Parameters of OpenAI's and vLLM's names, as engines in this process take them."""

from __future__ import annotations

from typing import Any

import pytest

from models.adapters.backends.decoding import first_stop
from models.adapters.backends.sampling_params import Sampling, parse_sampling
from models.core.errors import AccessError, BadRequest


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, Sampling()),
        ({"temperature": 0.5, "top_p": 0.5, "top_k": 50}, Sampling(temperature=0.5, top_p=0.5, top_k=50)),
        ({"temperature": 0, "seed": None, "stop": None}, Sampling(temperature=0.0)),
        ({"stop": "Query:"}, Sampling(stop=("Query:",))),
        ({"stop": ["a", "b"]}, Sampling(stop=("a", "b"))),
        ({"top_k": -1}, Sampling()),
        ({"max_completion_tokens": 3}, Sampling(max_tokens=3)),
        (
            {"min_p": 0.1, "repetition_penalty": 1.1, "seed": 3},
            Sampling(min_p=0.1, repetition_penalty=1.1, seed=3),
        ),
    ],
)
def test_names_and_defaults(params: dict[str, Any], expected: Sampling) -> None:
    assert parse_sampling(params) == expected


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("temperature", -0.1, "give a number from 0"),
        ("temperature", float("inf"), "give a number from 0"),
        ("temperature", True, "give a number from 0"),
        ("top_p", 0, "give a number above 0 to 1"),
        ("top_p", 1.5, "give a number above 0 to 1"),
        ("repetition_penalty", 0, "give a number above 0"),
        ("top_k", 2.5, "give a whole number from -1"),
        ("max_tokens", 0, "give a whole number from 1"),
        ("max_tokens", {"not": "a number"}, "give a whole number from 1"),
        ("seed", "7", "give a whole number"),
        ("seed", 2**64, "give a whole number"),
        ("stop", [""], "none of them empty"),
        ("stop", 3, "a text, or a list of texts"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(name: str, value: object, says: str) -> None:
    with pytest.raises(BadRequest, match=rf"^params.{name}: .* {says}"):
        parse_sampling({name: value})


def test_unknown_names_are_listed_together() -> None:
    with pytest.raises(
        AccessError, match=r"^params: best_of, logit_bias cannot be used .*; take max_tokens, "
    ):
        parse_sampling({"temperature": 1, "logit_bias": {}, "best_of": 2})


def test_the_first_of_several_stop_sequences_counts() -> None:
    assert first_stop("one two three", ["three", "two"]) == 4
    assert first_stop("one two three", ["four"]) is None
