"""A call that fails is made again, but not for ever: how often depends on what fails, and on whether the
model answers others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from models.core import errors
from tests.support.virtual_time import run
from worker import model_health
from worker.model_health import CallFailures, ModelHealth

BOOM = errors.Unavailable("m at http://server/v1: status 500: boom")
SLOW = errors.TimedOut("m at http://server/v1: no answer within 2 s")
STRAY = errors.StrayRefusal("m at http://server/v1: status 400: upstream connect error")
BUSY = errors.RateLimited("m at http://server/v1: status 429")


def tries(error: errors.ModelError, others: Callable[[ModelHealth], None]) -> tuple[int, float, Exception]:
    """Let a call fail until it is given up; before each try something happens to `others`. Return how often
    it was made, the seconds that this took, and the last error."""

    async def scene() -> tuple[int, float, Exception]:
        health = ModelHealth("m")
        with health.watch() as failures:
            for number in range(1, 100_000):
                try:
                    await asyncio.sleep(max(1.0, failures.next_wait(error)))
                except errors.StarmillError as last:
                    return number, asyncio.get_running_loop().time(), last
                others(health)
        raise AssertionError("asked without end")

    return run(scene())


def answered(health: ModelHealth) -> None:
    health.answered()


def away(health: ModelHealth) -> None:
    """Another call of the model waits, too."""
    health.open_calls = 2


def nobody(_: ModelHealth) -> None: ...


@pytest.mark.parametrize(
    ("error", "count"),
    [
        (BOOM, model_health.MAX_STRIKES + 1),
        (SLOW, model_health.MAX_TIMEOUTS),
        (BUSY, model_health.MAX_LIMITED + 1),
        (STRAY, 3),
    ],
)
def test_a_row_that_fails_while_others_are_answered_is_given_up(error: errors.ModelError, count: int) -> None:
    made, seconds, last = tries(error, answered)
    assert made == count
    assert seconds < 400
    assert isinstance(last, errors.BadRequest)
    assert last.reason == ("bad_request" if error is STRAY else "server_error")
    assert str(last) == str(error)


@pytest.mark.parametrize("error", [BOOM, BUSY])
def test_an_outage_fails_no_row_and_pauses_the_run_in_the_end(error: errors.ModelError) -> None:
    _, seconds, last = tries(error, away)
    assert isinstance(last, errors.ServiceError)
    assert str(error) in str(last)
    assert model_health.MAX_OUTAGE_SECONDS < seconds < model_health.MAX_OUTAGE_SECONDS + 60


@pytest.mark.parametrize("error", [SLOW, STRAY])
def test_what_may_be_billed_or_is_refused_is_bounded_in_an_outage_too(error: errors.ModelError) -> None:
    made, _, last = tries(error, away)
    assert made == 3
    assert isinstance(last, errors.BadRequest)


def test_the_last_call_of_a_model_is_given_up_after_minutes() -> None:
    _, seconds, last = tries(BOOM, nobody)
    assert isinstance(last, errors.ServerError)
    assert model_health.MAX_LONE_SECONDS < seconds < 400


def test_a_success_before_the_first_failure_is_no_sign() -> None:
    async def scene() -> None:
        health = ModelHealth("m")
        health.answered()
        await asyncio.sleep(1)
        with health.watch() as failures, health.watch():
            for _ in range(3 * model_health.MAX_STRIKES):
                await asyncio.sleep(failures.next_wait(BOOM))

    run(scene())


def test_the_server_says_when_to_come_again() -> None:
    async def scene() -> None:
        failures = CallFailures(ModelHealth("m"))
        assert failures.next_wait(errors.Unavailable("busy", retry_after=90)) == 90
        assert failures.next_wait(errors.RateLimited("busy", retry_after=90)) == 0  # the limits wait

    run(scene())


def test_the_same_trouble_is_logged_once_a_minute_and_described_while_it_lasts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene() -> None:
        health = ModelHealth("m")
        assert health.trouble(0, 0.0) is None
        with health.watch() as one, health.watch() as other:
            for _ in range(61):
                health.failed(one, errors.Unavailable("\x1b[31mboom\n"))
                health.failed(other, errors.Unavailable("\x1b[31mboom\n"))
                await asyncio.sleep(1)
            trouble = health.trouble(3, 7.0)
            assert trouble is not None
            assert (trouble.message, trouble.failing, trouble.waiting) == (" [31mboom ", 2, 3)
            assert trouble.since > 1_000_000_000
        assert health.trouble(0, 0.0) is None

    with caplog.at_level(logging.INFO):
        run(scene())
    assert len(caplog.records) == 2
