"""Each failure mode of a rationale, and a rationale without one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.answers.checks import FAILURE_MODES, failure_modes

REQUEST = "count the words of `text` (Hint: the answer is len(text.split()))"


@pytest.mark.parametrize(
    ("text", "modes"),
    [
        ("text.split() makes a list. The answer is len(text.split()).", []),
        ("It splits the text. It splits the text. The answer is f(x).", ["redundancy"]),
        ("calls f of x and then " * 8 + ". The answer is f(x).", ["redundancy"]),
        ("Count the words of text. The answer is len(text.split()).", ["parroting"]),
        ("It splits. The answer is", ["no_code"]),
        ("It splits. The answer is to count them all.", ["no_code"]),
        ("It splits the words.", ["no_answer_sentence"]),
        ("As the hint says, it splits. The answer is f(x).", ["hint_leak"]),
        ("It splits the words and then", ["no_answer_sentence", "truncation"]),
        ("I'm sorry, but I cannot help with that.", ["no_answer_sentence", "refusal"]),
    ],
)
def test_failure_mode_of_each_text(text: str, modes: list[str]) -> None:
    assert failure_modes(text, REQUEST) == modes


@given(st.text(max_size=80), st.text(max_size=40))
def test_failure_modes_of_arbitrary_text_are_known_modes(text: str, request_: str) -> None:
    assert set(failure_modes(text, request_)) <= set(FAILURE_MODES)
