"""`starmill feed` beside `starmill run`: who feeds, who watches, and who takes over."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import select

from producer.local.services import free_port
from storage.database import Database
from storage.ledger import batches
from storage.ledger import runs as ledger_runs
from storage.schema import RUNS, SUBMITTED, UNITS
from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import write_data, write_experiment
from tests.support.clock import Clock
from tests.support.pipeline import PATIENCE, Home, bought, final_share, paid, units, wait_until
from tests.support.services import Postgres, running_valkey
from tests.support.small_run import plan
from tests.support.workers import celery_worker

# The lease of a feeder on another machine is 8 s; on this one its death is seen at once.
TAKEN_OVER = 6.0
GRID = {"shots": [0, 2], "retrieval": [False], "rationale": ["none", "star"]}

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("feed")
    return write_data(folder / "data", train=16, test=4)


@pytest.fixture(scope="module")
def model_server(data: Path) -> Iterator[OpenAIServer]:
    with running("--references", str(data / "references.jsonl")) as server:
        yield server


@pytest.fixture
def server(model_server: OpenAIServer) -> OpenAIServer:
    model_server.configure(latency_ms=600)
    model_server.forget()
    return model_server


@pytest.fixture
def home(tmp_path: Path, redis_url: str) -> Home:
    return Home(tmp_path / "home", {"STARMILL_REDIS_URL": redis_url, "STARMILL_LEASE_SECONDS": "4"})


def experiment(data: Path, server: OpenAIServer, **sections: Any) -> Path:
    return write_experiment(data, server.url, grid=GRID, **sections)


@pytest.mark.marathon
def test_feed_service_feeds_planned_runs_and_a_second_takes_over(
    home: Home, data: Path, server: OpenAIServer
) -> None:
    with ExitStack() as stack, home.ledger() as db:
        services = [stack.enter_context(home.started("feed")) for _ in range(2)]
        stack.enter_context(celery_worker(home))
        wait_until(lambda: is_served(home), "a service is there")
        run = stack.enter_context(home.started("run", experiment(data, server)))
        wait_until(lambda: final_share(units(db)) > 0.2, "some units are final")
        [first] = [service for service in services if service.pid == feeder_of(db)]
        [second] = [service for service in services if service is not first]
        killed(first)
        wait_until(lambda: feeder_of(db) == second.pid, "the other feeds the run", TAKEN_OVER)
        tables, stderr = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0, stderr
        assert "Ablation" in tables
        assert final_share(units(db)) == 1.0
        assert bought(db) == set(paid(server))
        assert server.stats()["paid_again"] == 0
        assert stopped(second) == 0


def test_ctrl_c_in_a_watching_run_leaves_the_run_going(home: Home, data: Path, server: OpenAIServer) -> None:
    with ExitStack() as stack, home.ledger() as db:
        service = stack.enter_context(home.started("feed"))
        stack.enter_context(celery_worker(home))
        wait_until(lambda: is_served(home), "a service is there")
        run = stack.enter_context(home.started("run", experiment(data, server)))
        wait_until(lambda: final_share(units(db)) > 0.1, "some units are final")
        run.send_signal(signal.SIGINT)
        _, stderr = run.communicate(timeout=PATIENCE)
        assert run.returncode == 3
        [planned] = ledger_runs.list_runs(db)
        assert f"run {planned.id} goes on, fed by" in stderr
        wait_until(lambda: ledger_runs.run_state(db, planned.id)[0] == "finished", "the run is finished")
        assert stopped(service) == 0


@pytest.mark.marathon
def test_watching_run_takes_over_from_a_killed_service(home: Home, data: Path, server: OpenAIServer) -> None:
    """Batches, too: they are found again, and nothing is asked twice."""
    server.configure(batch_latency_ms=3000)
    teacher = {"backend": "openai", "model": "large", "base_url": server.url, "delivery": "batch"}
    with ExitStack() as stack, home.ledger() as db:
        service = stack.enter_context(home.started("feed"))
        stack.enter_context(celery_worker(home))
        wait_until(lambda: is_served(home), "a service is there")
        run = stack.enter_context(home.started("run", experiment(data, server, teacher=teacher)))
        wait_until(lambda: submitted(db), "a batch is submitted")
        assert feeder_of(db) == service.pid
        killed(service)
        wait_until(lambda: feeder_of(db) == run.pid, "who watched feeds", TAKEN_OVER)
        _, stderr = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0, stderr
        assert final_share(units(db)) == 1.0
        assert server.stats()["paid_again"] == 0


def test_feed_service_waits_for_redis_and_database(
    home: Home, postgres: Postgres, server: OpenAIServer, clock: Clock
) -> None:
    port = free_port()
    with postgres.new_database() as url, ExitStack() as stack:
        settings = {"STARMILL_REDIS_URL": f"redis://127.0.0.1:{port}/0", "STARMILL_DATABASE_URL": url}
        home = Home(home.path, settings)
        home.path.mkdir()
        service = stack.enter_context(home.started("feed"))
        with home.ledger() as db:
            clock.now = time.time()
            plan(db, clock)
            wait_until(lambda: feeder_of(db) == service.pid, "the run is led")
            postgres.kill_and_restart()
        with home.ledger() as db, running_valkey(port):
            wait_until(lambda: sent(db), "units are sent once Redis is there")
            assert feeder_of(db) == service.pid
            assert stopped(service) == 0
            assert feeder_of(db) is None
            assert ledger_runs.list_runs(db)[0].state == "running"


def is_served(home: Home) -> bool:
    with redis.Redis.from_url(home.settings["STARMILL_REDIS_URL"]) as client:
        return bool(client.exists("starmill:feed"))


def feeder_of(db: Database) -> int | None:
    """The process that leads the one run."""
    with db.read() as connection:
        name = connection.execute(select(RUNS.c.feeder)).scalar()
    return int(name.split(":")[1]) if name else None


def submitted(db: Database) -> bool:
    runs = ledger_runs.list_runs(db)
    return bool(runs) and any(batch.state == SUBMITTED for batch in batches.unsettled(db, runs[0].id))


def sent(db: Database) -> bool:
    with db.read() as connection:
        return connection.execute(select(UNITS.c.id).where(UNITS.c.sent_at.is_not(None))).first() is not None


def killed(service: subprocess.Popen[str]) -> None:
    """And gone: until its parent has heard of its end, a process still has its number."""
    service.kill()
    service.wait(timeout=PATIENCE)


def stopped(service: subprocess.Popen[str]) -> int:
    service.terminate()
    _, stderr = service.communicate(timeout=PATIENCE)
    assert "Traceback" not in stderr
    return service.returncode
