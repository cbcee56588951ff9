"""The parts that a too long prompt drops, and their order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.core.experiment.endpoints import Student
from models.core.prompts.rendering import Extent, count_dropped, first_that_fits, shrink

wholes = st.builds(Extent, st.integers(0, 6), st.lists(st.integers(0, 4), max_size=6).map(tuple))


def size(extent: Extent, request: int = 10) -> int:
    """Tokens, where a passage takes 3 and an exemplar 7."""
    return request + 3 * (extent.passages + sum(extent.exemplars)) + 7 * len(extent.exemplars)


def test_passages_of_exemplars_go_before_the_requests_own_and_exemplars_last() -> None:
    assert shrink(Extent(2, (1, 2))) == [
        Extent(2, (1, 2)),
        Extent(2, (1, 1)),
        Extent(2, (1, 0)),
        Extent(2, (0, 0)),
        Extent(1, (0, 0)),
        Extent(0, (0, 0)),
        Extent(0, (0,)),
        Extent(0, ()),
    ]


@given(wholes)
def test_one_thing_at_a_time_is_left_out_until_the_request_stands_alone(whole: Extent) -> None:
    ways = shrink(whole)
    assert ways[0] == whole
    assert ways[-1] == Extent(0, ())
    for before, after in pairwise(ways):
        lost = count_dropped(before, after)
        assert sorted(lost.values()) == [0, 1]
        # What stays are the best passages and the exemplars that were drawn first.
        assert after.passages <= before.passages
        assert all(a <= b for a, b in zip(after.exemplars, before.exemplars, strict=False))
        if lost["exemplars"]:
            assert not before.passages
            assert not sum(before.exemplars)
        elif after.passages < before.passages:
            assert not sum(before.exemplars)


@given(wholes, st.integers(0, 150))
def test_fitting_drops_no_more_than_needed(whole: Extent, room: int) -> None:
    ways = shrink(whole)
    index = first_that_fits(ways, lambda extent: size(extent) <= room)
    assert index == next((at for at, extent in enumerate(ways) if size(extent) <= room), len(ways))


@given(wholes)
def test_prompt_that_fits_is_counted_once(whole: Extent) -> None:
    tried: list[Extent] = []

    def fits(extent: Extent) -> bool:
        tried.append(extent)
        return True

    assert first_that_fits(shrink(whole), fits) == 0
    assert tried == [whole]


def test_a_long_prompt_is_not_counted_at_every_step() -> None:
    ways, tried = shrink(Extent(100, (100,) * 64)), []

    def fits(extent: Extent) -> bool:
        tried.append(extent)
        return False

    assert first_that_fits(ways, fits) == len(ways)
    assert len(tried) < 20


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_that_may_fill_the_context_is_refused(name: str) -> None:
    def student(**sections: Any) -> Student:
        return Student.model_validate({"backend": "embedded", "max_model_len": 64} | sections)

    assert student(params={name: 63}).max_model_len == 64
    with pytest.raises(ValidationError, match="params allow an answer of 64 tokens, which leaves no room"):
        student(params={name: 64})
