"""Texts of providers are cleaned before anything sees them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.answers.cleaning import (
    MAX_TOKENS,
    clean_completion,
    clean_line,
    clean_text,
    split_reasoning,
    usage_of,
)
from models.core.types import Completion, Usage

ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANY_TOKENS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just([])


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("f(x)\n\ty é 日", "f(x)\n\ty é 日"), ("a\0b", "ab"), ("caf\ud83d", "caf?"), ("a\r\nb\rc", "a\nb\nc"),
        ("\x1b[31mred\x07", "[31mred"), ("a\x85b\x0cc", "a\nb\nc"), ("\x7f\x9b", ""),
        ("\U0001f600", "\U0001f600"),
    ],
)  # fmt: skip
def test_controls_and_halves_of_characters_are_taken_out(text: str, clean: str) -> None:
    assert clean_text(text) == clean


@given(ANY_TEXT)
def test_any_text_can_be_stored_and_is_cleaned_once(text: str) -> None:
    clean = clean_text(text)
    assert "\0" not in clean
    assert clean.encode().decode() == clean
    assert clean_text(clean) == clean


@given(ANY_TEXT, st.integers(4, 50))
def test_a_line_is_short_and_printable(text: str, limit: int) -> None:
    line = clean_line(text, limit)
    assert line.isprintable()
    assert len(line) <= limit


THOUGHTS = [
    ("f(x)", "f(x)", None),
    ("  f(x)\n", "  f(x)\n", None),
    ("<think>hm</think>\n\nf(x)", "f(x)", "hm"),
    ("<THINK>hm</Think>f(x)", "f(x)", "hm"),
    ("<thinking>hm</thinking>f(x)", "f(x)", "hm"),
    ("[THINK]hm[/THINK]f(x)", "f(x)", "hm"),
    ("hm\n</think>\n\nf(x)", "f(x)", "hm"),
    ("<think></think>f(x)", "f(x)", None),
    ("<think>\n<think>hm</think>f(x)", "f(x)", "hm"),
    ("<think>hm<think>so</think></think>f(x)", "f(x)", "hmso"),
    ("<think>hm</think>f(<think>so</think>x)", "f(x)", "hmso"),
    ("<think>and then", "", "and then"),
    ("<thi<think>hm</think>nk>so", "", "hm\nso"),
    ("The tag `<think>` opens it.", "The tag `<think>` opens it.", None),
]


@pytest.mark.parametrize(("text", "answer", "thought"), THOUGHTS)
def test_thoughts_are_split_from_the_answer(text: str, answer: str, thought: str | None) -> None:
    assert split_reasoning(text) == (answer, thought)


@given(ANY_TEXT, ANY_TEXT, st.text(max_size=60))
def test_a_completion_is_cleaned_once(text: str, thought: str, finish: str) -> None:
    clean = clean_completion(Completion(text, finish, Usage(1, 5, 1, 5), thought, thought))
    assert clean.usage == Usage(1, 1, 1, 1)
    assert len(clean.finish_reason) <= 32
    assert clean_completion(clean) == clean


REPORTED: list[tuple[Any, Usage]] = [
    ({"prompt_tokens": 5, "completion_tokens": 7}, Usage(5, 0, 7)),
    ({"prompt_tokens": 5.0, "completion_tokens": 0}, Usage(5, 0, 0)),
    ({"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 50}},
     Usage(5, 5, 7)),
    ({"prompt_tokens": 5, "completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 4}},
     Usage(5, 0, 7, 4)),
    ({"prompt_tokens": 5, "completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 10**30}},
     Usage(5, 0, 7, 7)),
    ({"prompt_tokens": 1e30, "completion_tokens": 7}, Usage(0, 0, 7, 0, True)),
    ({"prompt_tokens": 10**30, "completion_tokens": 10**30}, Usage(estimated=True)),
    ({"prompt_tokens": -5, "completion_tokens": -7}, Usage(estimated=True)),
    ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, Usage(estimated=True)),
    ({"prompt_tokens": "many", "completion_tokens": [1], "prompt_tokens_details": 1}, Usage(estimated=True)),
    ({"prompt_tokens": True, "completion_tokens": None}, Usage(estimated=True)),
    ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(estimated=True)),
    ({}, Usage(estimated=True)), (None, Usage(estimated=True)), ([], Usage(estimated=True)),
    ("5", Usage(estimated=True)), (5, Usage(estimated=True)),
]  # fmt: skip


@pytest.mark.parametrize(("reported", "usage"), REPORTED)
def test_usage_is_taken_where_it_can_be(reported: Any, usage: Usage) -> None:
    assert usage_of(reported) == usage


@given(ANY_TOKENS, ANY_TOKENS, ANY_TOKENS, ANY_TOKENS)
def test_any_usage_is_within_its_bounds(prompt: Any, cached: Any, completion: Any, reasoning: Any) -> None:
    usage = usage_of({
        "prompt_tokens": prompt, "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens": completion, "completion_tokens_details": {"reasoning_tokens": reasoning},
    })  # fmt: skip
    assert 0 <= usage.cached <= usage.prompt <= MAX_TOKENS
    assert 0 <= usage.reasoning <= usage.completion <= MAX_TOKENS
