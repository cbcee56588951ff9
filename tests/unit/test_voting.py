"""The most frequent of several codes wins; Python's parser decides which codes are equal."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.correctness import Vote, majority
from models.core.programs import normal_form

CODES = st.sampled_from(["max(x)", "max( x )", "x.sort()", "x . sort()", "x +", "x  +", "f('a  b')", "", " "])


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["a"], Vote(0, 1, 1, 1)),
        (["a", "b", "b"], Vote(1, 3, 2, 2)),
        # The one that was drawn first.
        (["a", "b", "b", "a", "c"], Vote(0, 5, 2, 3)),
        (["b", "a"], Vote(0, 2, 1, 2)),
        # One tree, written in three ways.
        (["g()", "f(x, 'y')", 'f( x,"y" )', "(f(x, 'y'))"], Vote(1, 4, 3, 2)),
        # Not Python: white space alone is folded.
        (["echo $HOME", "ls  -l", "ls -l"], Vote(1, 3, 2, 2)),
        # Blanks inside a string are part of it.
        (["f('a b')", "f('a  b')", "f('a  b')"], Vote(1, 3, 2, 2)),
        # An answer without code abstains ...
        (["", "", "", "x"], Vote(3, 4, 1, 1)),
        # ... unless there is nothing else.
        (["", "  "], Vote(0, 2, 2, 1)),
    ],
)
def test_majority_of_codes(codes: list[str], expected: Vote) -> None:
    assert majority(codes) == expected


def test_majority_of_no_answers_raises() -> None:
    with pytest.raises(ValueError, match="no answers"):
        majority([])


@given(st.lists(CODES, min_size=1, max_size=12))
def test_winner_has_most_votes_and_is_the_earliest_of_equals(codes: list[str]) -> None:
    vote = majority(codes)
    forms = [normal_form(code) for code in codes]
    count = Counter(form for form in forms if form) or Counter(forms)
    elected = forms[vote.index]
    assert vote.winner == count[elected] == max(count.values())
    assert vote.index == forms.index(elected)
    earlier = {form for form in forms[: vote.index] if form}
    assert all(count[form] < vote.winner for form in earlier)
    assert (vote.samples, vote.groups) == (len(codes), len(count))


@given(st.lists(CODES, min_size=1, max_size=8), st.randoms())
def test_a_clear_winner_wins_in_any_order(codes: list[str], chance: random.Random) -> None:
    code = "max(x)"
    stuffed = [*codes, *[code] * (len(codes) + 1)]
    chance.shuffle(stuffed)
    assert normal_form(stuffed[majority(stuffed).index]) == normal_form(code)


@given(st.text(max_size=40))
def test_normal_form_accepts_arbitrary_text_and_ignores_outer_blanks(text: str) -> None:
    assert normal_form(text) == normal_form(text + " ")
