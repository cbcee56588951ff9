"""Redis full, read-only, cut off or restarted, and processes that stand still: the run ends whole.

Each trouble is tried with `--local` and with a bare Celery worker. What is printed (`-rP` shows it) are the
seconds from the end of the trouble to the next finished unit, and what was lost, blamed and paid twice.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable

import pytest
import redis

from tests.chaos.test_kill import assert_whole
from tests.openai_server.process import OpenAIServer
from tests.support.pipeline import Ended, Home, wait_until
from tests.support.services import closed_port
from tests.support.troubles import RUN_PARAMETERS, RUNS, SLOW_MS, Running, assert_outlives, warnings

pytestmark = pytest.mark.timeout(300)
# Of a run and its worker, for a trouble of up to a minute: what it is, by each part that meets it.
MAX_WARNINGS = 20


def full(run: Running) -> None:
    run.client.config_set("maxmemory", "1mb")
    time.sleep(60)
    run.client.config_set("maxmemory", "0")


def read_only(run: Running) -> None:
    with closed_port() as port:
        run.client.replicaof("127.0.0.1", str(port))
        time.sleep(20)
        run.client.replicaof("NO", "ONE")


def cut_off(run: Running) -> None:
    for _ in range(10):
        run.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        run.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        time.sleep(2)


def killed(run: Running) -> None:
    """Redis, three times."""
    for _ in range(3):
        os.kill(run.client.info("server")["process_id"], signal.SIGKILL)
        time.sleep(2)
        run.restart_redis()
        wait_until(lambda: answers(run.client), "Redis is back")
        time.sleep(3)


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def no_more_files(run: Running) -> None:
    """The worker can open nothing, and has lost its connections to Redis."""
    usual = resource.prlimit(run.worker, resource.RLIMIT_NOFILE)
    resource.prlimit(run.worker, resource.RLIMIT_NOFILE, (8, usual[1]))
    run.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    time.sleep(20)
    resource.prlimit(run.worker, resource.RLIMIT_NOFILE, usual)


def worker_stands_still(run: Running) -> None:
    stand_still(run.worker, 60)


def feeder_stands_still(run: Running) -> None:
    stand_still(run.process.pid, 30)


def stand_still(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


TROUBLES: dict[str, tuple[Callable[[Running], None], str]] = {
    "full": (full, "Redis is full"),
    "read_only": (read_only, "Redis is read-only"),
    "cut_off": (cut_off, "Redis is away"),
    "killed": (killed, "Redis is away"),
    "no_more_files": (no_more_files, "no file can be opened any more"),
    "worker_stands_still": (worker_stands_still, ""),
    "feeder_stands_still": (feeder_stands_still, ""),
}


@pytest.mark.parametrize("where", RUN_PARAMETERS)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_run_outlives_trouble(
    trouble: str, where: str, home: Home, server: OpenAIServer, undisturbed: Ended
) -> None:
    strike, says = TROUBLES[trouble]
    server.configure(latency_ms=SLOW_MS)
    with RUNS[where](home, undisturbed.experiment) as run:
        lines = assert_outlives(f"{trouble}, {where}", strike, run, server)
    assert says in "\n".join(lines)
    assert warnings(lines) <= MAX_WARNINGS
    assert_whole(home, undisturbed)
