"""Limits of model calls: what only Redis has."""

from __future__ import annotations

import asyncio

import pytest
import redis

from storage.limits.limiter import CallOutcome, CallReport, Quota
from storage.limits.redis_limiter import RedisLimiter, connect_redis
from tests.support.clock import Clock
from tests.support.limits import limits
from tests.support.services import closed_port


def test_limiters_of_one_name_share_their_limits_and_of_two_do_not(redis_url: str, clock: Clock) -> None:
    async def grants() -> list[bool]:
        first, second = connect_redis(redis_url), connect_redis(redis_url)
        quota, answers = Quota(max_concurrency=1), []
        for owner, (client, name) in enumerate([(first, "a"), (second, "a"), (first, "b")]):
            limiter = RedisLimiter(client, name, clock)
            answers.append(await limiter.exchange(quota, str(owner), 0, [], [1]))
        await first.aclose()
        await second.aclose()
        return [answer.granted for [answer] in answers]

    assert asyncio.run(grants()) == [True, False, True]


def test_without_a_clock_the_time_is_the_servers(redis_url: str) -> None:
    async def wait() -> float:
        client = connect_redis(redis_url)
        [_, answer] = await RedisLimiter(client, "a").exchange(Quota(rpm=1), "me", 0, [], [1, 1])
        await client.aclose()
        return answer.wait

    assert 0 < asyncio.run(wait()) <= 61
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        seconds, _ = client.time()
        due = float(client.hget("starmill:limit:{a}:state", "requests_due"))
    assert seconds <= due <= seconds + 62


def test_script_flushed_from_redis_is_sent_again(redis_url: str, clock: Clock) -> None:
    with limits(redis_url, clock) as model, redis.Redis.from_url(redis_url) as client:
        assert model.granted(1, most=1) == 1
        client.script_flush()
        assert model.granted(1, most=1, in_flight=1) == 0


def test_unused_limits_expire_after_an_hour_unless_blocked_longer(redis_url: str, clock: Clock) -> None:
    with limits(redis_url, clock) as model, redis.Redis.from_url(redis_url) as client:
        model.ask(1, rpm=60)
        assert sorted(client.keys()) == [b"starmill:limit:{model}:owners", b"starmill:limit:{model}:state"]
        assert all(3590 <= client.ttl(key) <= 3600 for key in client.scan_iter())
        model.ask(reports=[CallReport(CallOutcome.LIMITED, retry_after=10_000)])
        assert client.ttl("starmill:limit:{model}:state") > 10_000


def test_absent_redis_raises_its_own_error(clock: Clock) -> None:
    with (
        closed_port() as port,
        limits(f"redis://127.0.0.1:{port}/0", clock) as model,
        pytest.raises(redis.RedisError),
    ):
        model.ask(1)
