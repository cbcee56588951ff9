"""Whoever watches the limits sees what they hold, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from storage.limits.limiter import CallOutcome, CallReport, Quota, redis_keys
from storage.limits.usage import IN_FLIGHT, REQUESTS, TOKENS, LimitUsage, connect_reader, read_usage
from tests.support.clock import Clock
from tests.support.limits import Limits, limits

QUOTA = Quota(rpm=600, tpm=60_000, max_concurrency=8)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect_reader(redis_url) as reader:
        yield reader


@pytest.fixture
def model(redis_url: str, clock: Clock) -> Iterator[Limits]:
    with limits(redis_url, clock) as limiter:
        yield limiter


def use(client: redis.Redis, clock: Clock, quota: Quota = QUOTA) -> LimitUsage:
    return read_usage(client, "model", quota, clock())


def test_usage_before_the_first_call_is_empty(client: redis.Redis, clock: Clock) -> None:
    usage = use(client, clock)
    assert set(usage.used.values()) == {0}
    assert usage.allowed == {REQUESTS: 600, TOKENS: 60_000, IN_FLIGHT: 8}
    assert use(client, clock, Quota()).allowed == {}
    assert use(client, clock, Quota()).shares == {}


def test_steady_calls_show_as_calls_a_minute(client: redis.Redis, model: Limits, clock: Clock) -> None:
    for _ in range(600):
        model.ask(10, reports=[CallReport(CallOutcome.OK, tokens=5)])
        clock.advance(0.5)
    usage = use(client, clock)
    assert usage.used[REQUESTS] == pytest.approx(120, rel=0.02)
    assert usage.used[TOKENS] == pytest.approx(120 * 15, rel=0.02)
    assert usage.calls == 600
    clock.advance(60)
    assert use(client, clock).used[REQUESTS] == pytest.approx(120 / 2.718, rel=0.03)


def test_calls_in_flight_are_those_of_living_owners(client: redis.Redis, model: Limits, clock: Clock) -> None:
    model.ask(owner="one", in_flight=3)
    model.ask(owner="two", in_flight=2)
    assert use(client, clock).used[IN_FLIGHT] == 5
    assert use(client, clock).shares[IN_FLIGHT] == 5 / 8
    clock.advance(10.1)
    assert use(client, clock).used[IN_FLIGHT] == 0


def test_refusals_blocks_and_outages_are_reported(client: redis.Redis, model: Limits, clock: Clock) -> None:
    model.ask(
        0,
        reports=[
            CallReport(CallOutcome.LIMITED, retry_after=30.0, rpm=100),
            CallReport(CallOutcome.LIMITED, retry_after=5.0),
        ],
    )
    usage = use(client, clock)
    assert (usage.refused, usage.blocked, usage.circuit_open) == (2, 30, False)
    assert usage.allowed[REQUESTS] == 100
    model.ask(reports=[CallReport(CallOutcome.FAILED)] * 10)
    assert use(client, clock).circuit_open


def test_reading_usage_changes_no_limit(client: redis.Redis, model: Limits, clock: Clock) -> None:
    model.ask(7, 7, rpm=60)
    before = [client.hgetall(key) for key in redis_keys("model")]
    use(client, clock)
    assert read_usage(client, "model", QUOTA).used[REQUESTS] >= 0
    assert [client.hgetall(key) for key in redis_keys("model")] == before
