"""Messages that no feeder sends cost nothing: no call, no lease, no traceback, and the worker goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from sqlalchemy import text

from storage.broker import celery_settings, task_name
from storage.database import Database
from storage.ledger import runs
from storage.schema import TRAIN
from storage.settings import Settings
from tests.openai_server.process import OpenAIServer
from tests.support.clock import Clock
from tests.support.pipeline import Home, paid, wait_until
from tests.support.small_run import ids, plan, units
from tests.support.workers import celery_worker

QUEUE, RUN = "model.large", "small-1"
ABSURD: list[Any] = [
    [-1], [0], [2**63 - 1], [2**63], [10**40], ["1"], ["'; DROP TABLE unit"], [None], [1.5], [True], [[1]],
    [], list(range(1, 5_000)), "1,2", 7, None, {"1": 1},
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, database: Database, redis_url: str) -> Home:
    url = database.url.render_as_string(hide_password=False)
    home = Home(tmp_path / "home", {"STARMILL_DATABASE_URL": url, "STARMILL_REDIS_URL": redis_url})
    home.path.mkdir()
    return home


@pytest.fixture
def sender(redis_url: str) -> Iterator[Celery]:
    app = Celery("sender", set_as_current=False)
    app.conf.update(celery_settings(Settings(redis_url=redis_url)))
    yield app
    app.close()


def test_odd_messages_cost_nothing(
    home: Home, database: Database, redis_url: str, sender: Celery, openai_server: OpenAIServer
) -> None:
    teacher = {"backend": "openai", "model": "large", "base_url": openai_server.url}
    plan(database, Clock(time.time()), teacher=teacher)
    runs.stop_run(database, RUN, "by hand", paused=True)
    foreign = ids(database, stage="augment", split=TRAIN)
    before = paid(openai_server)
    for unit_ids in [*ABSURD, foreign]:
        for stage in ("augment", "judge"):
            sender.send_task(task_name(stage), (RUN, unit_ids), queue=QUEUE)
    for arguments in ((), ("run",), (5, [1]), ("\x1b[31m" * 9_999, [10**9]), ("a", [1], 3)):
        sender.send_task(task_name("augment"), arguments, queue=QUEUE)
    sender.send_task(task_name("augment"), (), {"unit_ids": foreign, "odd": 1}, queue=QUEUE)
    sender.send_task("starmill.forged", (RUN, foreign), queue=QUEUE)
    with redis.Redis.from_url(redis_url) as client:
        body = json.loads(client.lindex(QUEUE, 0))
        client.lpush(QUEUE, json.dumps(body | {"body": "e30="}), json.dumps(body | {"body": "?"}))
        client.lpush(QUEUE, json.dumps(body | {"headers": {}}))
        client.lpush(QUEUE, json.dumps(body | {"content-type": "application/x-python-serialize"}))
        with celery_worker(home, [QUEUE]) as worker:
            wait_until(lambda: not client.llen(QUEUE) and not client.hlen("unacked"), "all messages are gone")
            assert worker.poll() is None
    log = home.path.with_name("worker-w.log").read_text()
    assert "Traceback" not in log, log
    assert 1 <= log.count("it is dropped") <= 4, log
    assert {(row.lease_owner, row.attempts) for row in units(database)} == {(None, 0)}
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM generation")).scalar_one() == 0
    assert paid(openai_server) == before
