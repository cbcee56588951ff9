"""Forms in which answers are compared, by rules that tasks other than Python need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.correctness import is_correct, same_answer, shell_form, text_form
from models.core.metrics.scores import score
from models.core.metrics.text_metrics import token_f1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ls -la", "ls -a -l", True),
        ("ls  -la   docs", "ls -al docs", True),
        ("find . -name '*.py'", 'find . -name "*.py"', True),
        ("sort words.txt | uniq -c", "sort words.txt|uniq -c", True),
        ("cat a>b", "cat a > b", True),
        ("$ ls", "ls", True),
        ("grep -A 3 -B 2 x", "grep -B 3 -A 2 x", False),
        ("cp a b", "cp b a", False),
        ("rm a", "rm 'a b'", False),
        ("echo '$x'", 'echo "$x"', False),
        ("ls -l", "ls --l", False),
        ("a && b", "a; b", False),
        ("echo 'open", "echo  'open", True),
        ("echo 'open", "echo open", False),
    ],
)
def test_commands_are_the_same_but_for_their_form(one: str, other: str, same: bool) -> None:
    assert same_answer("shell", one, other) is same
    assert is_correct("shell", f"Because. The answer is {one}", other) is same
    assert not is_correct("shell", one, other)


def test_texts_are_the_same_but_for_case_punctuation_and_articles() -> None:
    assert same_answer("text", "The 12 dollars!", "12  Dollars")
    assert not same_answer("text", "12 dollars", "13 dollars")
    assert not same_answer("text", "", "")


@given(st.text(max_size=40))
def test_forms_raise_nothing(text: str) -> None:
    assert shell_form(text) == shell_form(text)
    assert text_form(text_form(text)) == text_form(text)


def test_token_f1_counts_what_is_shared() -> None:
    assert token_f1("ls -l", "LS -l") == 1
    assert token_f1("a b", "a c") == 0.5
    assert token_f1("", "a") == 0
    scores = score(["a b", "x"], ["a c", "x"])
    assert scores["token_f1"] == 75
    assert scores["accuracy"] == 50
