"""Workers tell in Redis what their calls wait for and which queues they serve, for displays to read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import pytest
import redis

from storage.limits.limiter import Quota
from storage.limits.redis_limiter import connect_redis
from storage.limits.troubles import TTL_SECONDS, Trouble, report_worker, served_key, trouble_key, unserved
from storage.limits.usage import connect_reader, read_usage

NOW = 1_800_000_000.0
FAILS = Trouble("status 500: boom", failing=2, since=NOW - 60)
WAITS = Trouble(waiting=3, waited=12.0)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect_reader(redis_url) as client:
        client.flushdb()
        yield client


def report(url: str, owner: str, troubles: Mapping[str, Trouble | None], queues: Sequence[str] = ()) -> None:
    async def send() -> None:
        async with connect_redis(url) as connected:
            await report_worker(connected, owner, queues, troubles, NOW)

    asyncio.run(send())


def read(client: redis.Redis, now: float = NOW) -> Trouble | None:
    return read_usage(client, "model", Quota(), now).trouble


def test_troubles_of_all_workers_are_added_up(client: redis.Redis, redis_url: str) -> None:
    report(redis_url, "one", {"model": FAILS, "other": None})
    report(redis_url, "two", {"model": WAITS})
    assert read(client) == Trouble("status 500: boom", 2, NOW - 60, 3, 12.0)
    report(redis_url, "one", {"model": None})
    assert read(client) == WAITS
    report(redis_url, "two", {"model": None})
    assert read(client) is None


def test_troubles_of_a_dead_worker_are_forgotten(client: redis.Redis, redis_url: str) -> None:
    report(redis_url, "one", {"model": FAILS})
    assert read(client, NOW + TTL_SECONDS) == FAILS
    assert read(client, NOW + TTL_SECONDS + 1) is None
    assert 0 < client.ttl(trouble_key("model")) <= TTL_SECONDS


def test_queues_without_a_worker_are_named(client: redis.Redis, redis_url: str) -> None:
    report(redis_url, "one", {}, ["retrieve", "judge"])
    assert unserved(client, ["judge", "model.m", "retrieve"]) == ["model.m"]
    assert unserved(client, []) == []
    assert 0 < client.ttl(served_key("judge")) <= TTL_SECONDS
