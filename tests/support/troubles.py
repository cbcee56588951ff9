"""Runs that meet trouble in their middle, and what must come of them: nothing lost, blamed or paid again."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from producer.local.services import free_port
from storage.database import Database
from storage.ledger.counts import IN_FLIGHT
from storage.schema import FAILED, FINAL
from tests.openai_server.process import OpenAIServer
from tests.support.pipeline import MODEL_WORKER, PATIENCE, Home, bought, final_share, paid, units, wait_until
from tests.support.services import running_valkey
from tests.support.workers import celery_worker

# Teacher and student, four calls at once each.
MOST_IN_FLIGHT = 8
RECOVERED_WITHIN = 45.0
SLOW_MS = 600


@dataclass(frozen=True)
class Running:
    """A run in its middle, its Redis and its worker, and the logs that its services write."""

    home: Home
    process: subprocess.Popen[str]
    client: redis.Redis
    worker: int
    logs: tuple[Path, ...]
    # Starts a Redis that was killed. A local run does that itself.
    restart_redis: Callable[[], object] = lambda: None

    def lines(self) -> list[str]:
        return [line for path in self.logs for line in path.read_text(errors="replace").splitlines()]


@contextmanager
def local_run(home: Home, experiment: Path) -> Iterator[Running]:
    with home.started("run", experiment, "--local") as process:
        with home.ledger() as db:
            wait_for_the_beginning(db)
        with redis.Redis.from_url(home.redis_url()) as client:
            logs = tuple(path for path in (home.path / "logs").glob("*.log") if path.name != "redis.log")
            yield Running(home, process, client, home.service(MODEL_WORKER), logs)


@contextmanager
def bare_run(home: Home, experiment: Path) -> Iterator[Running]:
    port = free_port()
    with ExitStack() as servers:
        url = servers.enter_context(running_valkey(port))
        served = Home(home.path, home.settings | {"STARMILL_REDIS_URL": url})
        with celery_worker(served) as worker, served.started("run", experiment) as process:
            with served.ledger() as db:
                wait_for_the_beginning(db)
            with redis.Redis.from_url(url) as client:
                logs = (served.path.with_name("worker-w.log"),)

                def restart() -> None:
                    servers.enter_context(running_valkey(port))

                yield Running(served, process, client, worker.pid, logs, restart)
                assert worker.poll() is None, f"the bare worker ended with {worker.returncode}"


RUNS = {"local": local_run, "bare": bare_run}
# Bare Celery workers have nobody to restart them: these runs go first, the others take as long again.
RUN_PARAMETERS = [pytest.param(name, marks=[pytest.mark.scale] if name == "local" else []) for name in RUNS]


def wait_for_the_beginning(db: Database, share: float = 0.1) -> None:
    """Wait until this share of the units is final and calls are in flight."""

    def begun() -> bool:
        states = units(db)
        return final_share(states) >= share and states[IN_FLIGHT] > 0

    wait_until(begun, f"{share:.0%} of the units are final")


def assert_outlives(
    name: str, strike: Callable[[Running], None], run: Running, server: OpenAIServer
) -> list[str]:
    """Let the trouble come and go, and the run end. Return all lines of the run and its services."""
    with run.home.ledger() as db:
        before, messages = bought(db), ErrorLines(run.process)
        strike(run)
        ended, standing = time.monotonic(), final_units(db)
        wait_until(lambda: final_units(db) > standing or run.process.poll() is not None, "work goes on")
        recovered = time.monotonic() - ended
        try:
            code = run.process.wait(PATIENCE)
        finally:
            lines = [*messages.read(), *run.lines()]
            print(*lines, sep="\n")
        states, calls = units(db), paid(server)
    lost, again = states.total() - sum(states[state] for state in FINAL), calls.total() - len(calls)
    print(f"SEEN {name}: back after {recovered:.1f} s, lost {lost}, blamed {states[FAILED]}, "
          f"paid twice {again}, exit {code}, warnings {warnings(lines)}")  # fmt: skip
    assert (code, lost, states[FAILED]) == (0, 0, 0)
    assert again <= MOST_IN_FLIGHT
    assert {call for call in before if calls[call] > 1} == set()
    assert recovered <= RECOVERED_WITHIN
    assert not [line for line in lines if "Traceback" in line]
    return lines


def warnings(lines: list[str]) -> int:
    return sum(any(f" {level} " in line for level in ("WARNING", "ERROR", "CRITICAL")) for line in lines)


def final_units(db: Database) -> int:
    states = units(db)
    return sum(states[state] for state in FINAL)


class ErrorLines:
    """The standard error of a process, read while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._lines.extend, args=(process.stderr,), daemon=True)
        self._thread.start()

    def read(self) -> list[str]:
        self._thread.join(1)
        return [line.rstrip() for line in self._lines]
