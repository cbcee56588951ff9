"""Rationales that repeat their request or themselves, and others that only share its words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.answers.repetition import is_parroted, is_redundant

REQUEST = "count the words of `text`. This requires splitting `text` at white space and counting its words."


@pytest.mark.parametrize(
    "text",
    [
        "Count the words of text. The answer is len(text.split()).",
        "To count the words of `text`, we can split `text` at white space and count its words. "
        "The answer is len(text.split()).",
        "len(text.split()) splits `text` at white space and counts its words. "
        "The answer is len(text.split()).",
        "Query: count the words of `text`",
    ],
)
def test_an_explanation_without_a_word_of_its_own_is_parroted(text: str) -> None:
    assert is_parroted(text, REQUEST)


@pytest.mark.parametrize(
    "text",
    [
        "`split()` without arguments cuts at runs of white space, and `len()` counts what is left. "
        "The answer is len(text.split()).",
        "We can use the `len()` function to count the words of `text`. The answer is len(text.split()).",
        "We split. The answer is len(text.split()).",
        "counting(splitting(text), words)",
        "The answer is len(text.split()).",
        "",
    ],
)
def test_an_explanation_that_names_a_function_is_not_parroted(text: str) -> None:
    assert not is_parroted(text, REQUEST)


@pytest.mark.parametrize(
    ("text", "redundant"),
    [
        ("It splits the text. It splits the text. The answer is f(x).", True),
        (
            "We pass the whole matrix to the function max, which returns the largest value of all its rows. "
            "Then max returns the largest value of all its rows from the whole matrix. The answer is f(x).",
            True,
        ),
        (
            "The answer is f(x). It applies the function int to each element of the inner list. "
            "The function int is applied to each element of the inner list in turn.",
            True,
        ),
        ("calls f of x and then " * 8 + ". The answer is f(x).", True),
        ("We read the file. We sort the lines. We drop the first. The answer is f(x).", False),
        (
            "To sort the list by its second element, write `sorted(x, key=itemgetter(1), reverse=True)`. "
            "The answer is sorted(x, key=itemgetter(1), reverse=True).",
            False,
        ),
        ("The answer is f(x).", False),
        ("", False),
    ],
)
def test_sentences_that_say_the_same_are_redundant(text: str, redundant: bool) -> None:
    assert is_redundant(text) is redundant


@given(st.text(max_size=80), st.text(max_size=40))
def test_arbitrary_text_is_judged(text: str, request_: str) -> None:
    is_parroted(text, request_)
    is_redundant(text)
