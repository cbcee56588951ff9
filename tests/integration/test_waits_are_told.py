"""Whatever a run waits for is told: in pipes, in `status` and in its JSON."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from producer.progress import text
from producer.progress.live import REPEAT_SECONDS, PlainProgress
from producer.progress.status import LimitWatch, read_status
from producer.progress.wait_lines import wait_lines
from storage.database import Database
from storage.limits.redis_limiter import connect_redis
from storage.limits.troubles import Trouble, report_worker
from storage.limits.usage import LimitUsage
from storage.settings import load_settings
from tests.support.clock import Clock
from tests.support.small_run import plan

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
            usage(trouble=Trouble("m at http://server/v1: no answer within 2 s", 2, NOW)),
            r"calls of teacher fail since \d.*, 2 to be made again: "
            r"m at http://server/v1: no answer within 2 s",
        ),
    ],
)
def test_each_wait_is_one_line(of_limits: LimitUsage, expected: str) -> None:
    [line] = wait_lines([(["teacher"], of_limits)], [], NOW)
    assert re.fullmatch(expected, line)


def test_no_wait_is_no_line() -> None:
    assert wait_lines([(["teacher"], usage())], [], NOW) == ()


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
    waits = read_status(database, run, clock() + 60, watch).waits
    assert [line.partition(";")[0] for line in waits] == [f"no worker serves {queue}" for queue in READY]
    assert waits[0].endswith(f"celery -A worker worker -Q {READY[0]} -P threads -c 24")
    report(redis_url, READY, {}, clock())
    assert read_status(database, run, clock() + 60, watch).waits == ()


def test_waits_are_in_the_json_and_told_once_a_minute_in_a_pipe(
    database: Database, clock: Clock, redis_url: str, watch: LimitWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan(database, clock, teacher=TEACHER)
    now = time.time()
    printed: list[str] = []
    progress = PlainProgress(lambda line: printed.append(str(line)))
    for seconds in range(100):
        monkeypatch.setattr(time, "monotonic", lambda at=float(seconds): 1e6 + at)
        report(redis_url, READY, {NAME: Trouble("boom", 1 + seconds % 3, now)}, time.time())
        status = read_status(database, run, now, watch)
        progress.show(status)
    [line] = status.waits
    assert status.document()["waits"] == [line]
    assert status.document()["limits"][0]["trouble"]["message"] == "boom"
    assert re.fullmatch(r"calls of teacher fail since \S+, \d to be made again: boom", line)
    assert sum("to be made again: boom" in line for line in printed) == 1 + 99 // REPEAT_SECONDS
    assert "boom" in "".join(str(part) for part in text.progress(status).renderables)


READY = ["retrieve", "student.student", "teacher.teacher"]
NAME = "server/v1/m/OPENAI_API_KEY"
