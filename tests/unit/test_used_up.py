"""A model that only thinks stops its run before all rows are paid for."""

from __future__ import annotations

import pytest

from models.core.answers.checks import LIMIT_USED_UP
from models.core.errors import AccessError
from models.core.types import Rejection
from worker.first_call import MAX_IN_A_ROW, UsedUpLimits

USED_UP = Rejection(LIMIT_USED_UP, "raise max_completion_tokens (or max_tokens)")


def test_the_first_answers_that_are_all_reasoning_stop_the_run() -> None:
    limits = UsedUpLimits()
    for _ in range(MAX_IN_A_ROW - 1):
        limits.note("teacher", USED_UP)
    with pytest.raises(AccessError, match="teacher: raise max_completion_tokens"):
        limits.note("teacher", USED_UP)


@pytest.mark.parametrize("other", ["f(x)", Rejection("no_code")])
def test_a_row_of_its_own_does_not(other: object) -> None:
    limits = UsedUpLimits()
    for value in [USED_UP, USED_UP, other, USED_UP, USED_UP]:
        limits.note("teacher", value)


def test_after_an_accepted_answer_it_is_the_row_s() -> None:
    limits = UsedUpLimits()
    for value in ["f(x)", *[USED_UP] * 10]:
        limits.note("teacher", value)
