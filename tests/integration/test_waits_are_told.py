"""Whatever a run waits for is told: in pipes, in `status` and in its JSON."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from producer.progress import text
from producer.progress.live import PlainProgress
from producer.progress.status import LimitWatch, read_status
from producer.progress.wait_lines import wait_lines
from storage.database import Database
from storage.ledger.scheduling import claim_feeding
from storage.limits.redis_limiter import connect_redis
from storage.limits.troubles import Trouble, report_worker
from storage.limits.usage import LimitUsage
from storage.schema import TRAIN
from storage.settings import Settings, load_settings
from tests.support.clock import Clock
from tests.support.services import closed_port
from tests.support.small_run import LEASE, Hand, plan

NOW = 1_800_000_000.0
TEACHER = {"backend": "openai", "model": "m", "base_url": "http://server/v1"}


def usage(blocked: float = 0.0, circuit_open: bool = False, trouble: Trouble | None = None) -> LimitUsage:
    return LimitUsage({}, {}, 0, 0, blocked, circuit_open, trouble)


@pytest.mark.parametrize(
    ("of_limits", "expected"),
    [
        (usage(blocked=352), r"calls of teacher are blocked for 5 min 52 s, until \d.*\(Retry-After\)"),
        (
            usage(circuit_open=True),
            "calls of teacher fail one after the other.*",
        ),
        (
            usage(trouble=Trouble(waiting=3, waited=70)),
            "calls of teacher wait for its limits: 3, the first for 1 min 10 s",
        ),
        (
            usage(trouble=Trouble("m at http://server/v1: no answer within 2 s", 2, NOW - 5)),
            r"calls of teacher fail since \d.*, 2 to be made again: "
            r"m at http://server/v1: no answer within 2 s",
        ),
    ],
)
def test_each_wait_is_one_line(of_limits: LimitUsage, expected: str) -> None:
    [line] = wait_lines([(["teacher"], of_limits)], [], NOW)
    assert re.fullmatch(expected, line)


@pytest.mark.parametrize("of_limits", [usage(), usage(blocked=1), usage(trouble=Trouble("boom", 2, NOW - 1))])
def test_no_wait_is_no_line(of_limits: LimitUsage) -> None:
    assert wait_lines([(["teacher"], of_limits)], [], NOW) == ()


@pytest.fixture
def watch(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LimitWatch:
    monkeypatch.setenv("STARMILL_HOME", str(tmp_path))
    monkeypatch.setenv("STARMILL_REDIS_URL", redis_url)
    return LimitWatch(load_settings())


def report(url: str, queues: Sequence[str], troubles: Mapping[str, Trouble | None], now: float) -> None:
    async def send() -> None:
        async with connect_redis(url) as connected:
            await report_worker(connected, "worker", queues, troubles, now)

    asyncio.run(send())


def test_queues_without_a_worker_are_told_with_the_line_that_starts_one(
    database: Database, clock: Clock, redis_url: str, watch: LimitWatch
) -> None:
    run = plan(database, clock, teacher=TEACHER)
    assert read_status(database, run, clock() + 5, watch).waits == ()  # a worker may be starting
    [line] = read_status(database, run, clock() + 60, watch).waits
    assert line == "nobody feeds the run; go on with: starmill resume small-1"
    assert claim_feeding(database, run.id, "feeder", clock(), 100.0) == "feeder"
    waits = read_status(database, run, clock() + 60, watch).waits
    assert [line.partition(";")[0] for line in waits] == [f"no worker serves {queue}" for queue in READY]
    assert waits[0].endswith(f"start one: starmill worker {READY[0]}")
    report(redis_url, READY, {}, clock())
    [line] = read_status(database, run, clock() + 60, watch).waits
    assert re.fullmatch(
        r"nothing has ended since \S+( \S+)?: 0 units are in workers' hands, 7 are ready", line
    )


def test_dead_worker_is_told_while_its_leases_live(
    database: Database, clock: Clock, redis_url: str, watch: LimitWatch
) -> None:
    hand = Hand(database, plan(database, clock, teacher=TEACHER), clock)
    assert len(hand.take(TRAIN, "augment")) == 3
    report(redis_url, READY[1:], {}, clock())
    claim_feeding(database, hand.run.id, "feeder", clock(), 100.0)
    assert read_status(database, hand.run, clock() + LEASE - 5, watch).waits == (
        "no worker serves model.m; start one: starmill worker model.m",
    )


def test_redis_that_is_away_is_told(database: Database, clock: Clock, tmp_path: Path) -> None:
    run = plan(database, clock, teacher=TEACHER)
    with closed_port() as port:
        url = f"redis://127.0.0.1:{port}/0"
        watch = LimitWatch(Settings(home=tmp_path, redis_url=url, _env_file=None))  # type: ignore[call-arg]
        [line] = read_status(database, run, clock() + 5, watch).waits
    assert re.fullmatch(r"Redis is away: .*127\.0\.0\.1.*; the run waits for it", line)


def test_waits_are_in_the_json_and_told_ever_more_rarely_in_a_pipe(
    database: Database, clock: Clock, redis_url: str, watch: LimitWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan(database, clock, teacher=TEACHER)
    now = time.time()
    printed: list[str] = []
    progress = PlainProgress(lambda line: printed.append(str(line)))
    for seconds in range(0, 400, 10):
        monkeypatch.setattr(time, "monotonic", lambda at=float(seconds): 1e6 + at)
        report(redis_url, READY, {NAME: Trouble("boom", 1 + seconds % 3, now - 5)}, time.time())
        status = read_status(database, run, now, watch)
        progress.show(status)
    [line] = status.waits
    assert status.document()["waits"] == [line]
    assert status.document()["limits"][0]["trouble"]["message"] == "boom"
    assert re.fullmatch(r"calls of teacher fail since \S+, \d to be made again: boom", line)
    # At once, after one minute, and after two more.
    assert sum("to be made again: boom" in line for line in printed) == 3
    assert sum("units/min" in line for line in printed) == 3
    assert "boom" in "".join(str(part) for part in text.progress(status).renderables)


READY = ["model.m", "model.small", "retrieve"]
NAME = "server/v1/m"
