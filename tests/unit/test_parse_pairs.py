"""Pairs of request and answer in a reply, whatever a model makes of the form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.answers.checks import REASONS
from models.core.answers.parsers import Pair, parse_pairs
from models.core.types import Completion, Rejection, Usage

TWO = (Pair("sort list `xs`", "xs.sort()"), Pair("count words", "len(s.split())"))


def completion_of(text: str | None, finish_reason: str = "stop") -> Completion:
    return Completion(text, finish_reason, Usage())


@pytest.mark.parametrize(
    "text",
    [
        "Request: sort list `xs`\nAnswer: xs.sort()\n\nRequest: count words\nAnswer: len(s.split())",
        "Here you are:\n\n1. Request: sort list `xs`\n   Answer: xs.sort()\n2. Request: count words\n"
        "   Answer: len(s.split())\n",
        "**Request:** sort list `xs`\n**Answer:** `xs.sort()`\n---\n**Request 2**: count words\n"
        "**Answer 2**: `len(s.split())`\n---",
        "### Request 1:\nsort list\n`xs`\n### Answer 1:\n```python\nxs.sort()\n```\n"
        "- request: count words\n- answer:\n```\nlen(s.split())\n```",
    ],
)
def test_pairs_in_many_forms(text: str) -> None:
    assert parse_pairs(completion_of(text)) == TWO


def test_an_answer_may_have_several_lines() -> None:
    text = "Request: loop\nAnswer: for x in xs:\n    print(x)  \n\n    done()\n\nRequest: b\nAnswer: c"
    assert parse_pairs(completion_of(text)) == (
        Pair("loop", "for x in xs:\n    print(x)\n\n    done()"),
        Pair("b", "c"),
    )


def test_broken_pairs_are_counted_beside_good_ones() -> None:
    text = (
        "Answer: lost\nRequest: one\nRequest: two\nAnswer: 2\nRequest:\nAnswer: 3\nRequest: four\nAnswer:\n"
    )
    parsed = parse_pairs(completion_of(text))
    assert not isinstance(parsed, Rejection)
    assert [pair.flaw for pair in parsed] == ["no_request", "no_answer", "", "no_request", "no_answer"]
    assert parsed[2] == Pair("two", "2")


def test_truncated_last_pair_is_flawed() -> None:
    text = "Request: a\nAnswer: b\nRequest: c\nAnswer: d, e"
    parsed = parse_pairs(completion_of(text, "length"))
    assert parsed == (Pair("a", "b"), Pair("c", "d, e", "truncated"))
    alone = parse_pairs(completion_of("Request: a\nAnswer: b", "length"))
    assert isinstance(alone, Rejection)
    assert alone.reason == "truncated"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "null"),
        (" ", "empty"),
        ("<html>busy</html>", "html"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("Sure! The request is to sort a list.", "no_pairs"),
        ("Request: sort\nRequest: count", "no_pairs"),
        ("My request: sort", "no_pairs"),
    ],
)
def test_a_reply_without_a_pair_is_rejected(text: str | None, reason: str) -> None:
    parsed = parse_pairs(completion_of(text))
    assert isinstance(parsed, Rejection)
    assert parsed.reason == reason
    assert reason in REASONS


@given(st.text(alphabet="Requst:Anwe \n*`1.#-x", max_size=200), st.sampled_from(["stop", "length"]))
def test_arbitrary_text_gives_pairs_or_a_rejection(text: str, ended: str) -> None:
    parsed = parse_pairs(completion_of(text, ended))
    if not isinstance(parsed, Rejection):
        assert any(not pair.flaw for pair in parsed)
        assert all(pair.request and pair.answer for pair in parsed if not pair.flaw)
        assert all("\n" not in pair.request for pair in parsed)
