"""Six hosts on one network: one is cut off for a minute in the middle of a run, another has a bad line.

Redis, PostgreSQL and the feeder are on one host, two have teacher workers, one the student's, one the model
server; this process is on the last, and only looks on. Nothing is told when a host is cut off: its
connections stay open at both ends. `make test-scale`.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from producer.experiments.datasets import read_dataset
from producer.experiments.load import load_experiment
from producer.index.index_progress import bring_up_to_date
from storage.database import Database
from storage.ledger import runs
from storage.ledger.leases import unit_is_held
from storage.schema import UNITS
from storage.settings import Settings
from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import write_data, write_experiment
from tests.support.hosts import Network, network, postgres_on, redis_on, starmill_on
from tests.support.pipeline import Home, bought, final_share, paid, units, wait_until
from tests.support.workers import celery_worker

ROWS, CALLS_AT_ONCE, LATENCY_MS, THREADS = 800, 16, 700, 5
AWAY_SECONDS, BACK_WITHIN = 60.0, 45.0

pytestmark = [pytest.mark.scale, pytest.mark.timeout(600)]


@pytest.fixture
def net() -> Iterator[Network]:
    with network() as made:
        yield made


def test_host_away_for_a_minute_repays_nothing_committed(
    net: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", train=ROWS, test=4)
    broker, models = net.add("broker"), net.add("models")
    for host in ("teacher-1", "teacher-2", "student"):
        net.add(host)
    with ExitStack() as stack:
        options = ("--host", models, "--references", str(data / "references.jsonl"))
        options += ("--latency-ms", str(LATENCY_MS))
        server = stack.enter_context(running(*options, inside=net.inside("models")))
        settings = {
            "STARMILL_REDIS_URL": stack.enter_context(redis_on(net, "broker", broker)),
            "STARMILL_DATABASE_URL": stack.enter_context(postgres_on(net, "broker", broker)),
        }
        home = Home(tmp_path / "home", settings)
        db = stack.enter_context(home.ledger())
        plan(db, home, data, server)
        stack.enter_context(feed_service(net, home))
        workers = {
            host: stack.enter_context(
                celery_worker(home, queues, THREADS, name=host, inside=net.inside(host))
            )
            for host, queues in (
                ("teacher-1", ["model.large"]),
                ("teacher-2", ["model.large"]),
                ("student", ["model.small", "retrieve", "judge"]),
            )
        }
        runs.start_run(db, "run", time.time())
        wait_until(lambda: final_share(units(db)) > 0.05, "the run is under way")
        for host in ("teacher-1", "teacher-2"):
            wait_until(lambda host=host: holds(db, workers[host]), f"{host} works")

        notes = [net_is_cut(net, db, server, workers["teacher-1"])]
        notes.append(Moment.now("teacher-1 is back", db, server))
        wait_until(lambda: holds(db, workers["teacher-1"]), "teacher-1 works again", BACK_WITHIN)
        notes.append(Moment.now("teacher-1 works again", db, server))
        server.configure(latency_ms=100)
        wait_until(lambda: runs.list_runs(db)[0].state == "finished", "the run is finished", 240)
        notes.append(Moment.now("the end", db, server))
        with capsys.disabled():
            print("", *notes, sep="\n")
        assert all(worker.poll() is None for worker in workers.values())
        states = units(db)
        assert final_share(states) == 1.0
        assert states["failed"] == 0
        assert bought(db) == set(paid(server))
        for moment in notes:
            moment.assert_nothing_is_paid_again(server)
        # At most what was in flight on the host that was cut off, and on the bad line.
        assert server.stats()["paid_again"] <= 3 * CALLS_AT_ONCE


@dataclass(frozen=True)
class Moment:
    """The final units, the committed calls, and how often each call was paid, at one moment."""

    what: str
    share: float
    committed: frozenset[str]
    paid: dict[str, int]

    @classmethod
    def now(cls, what: str, db: Database, server: OpenAIServer) -> Moment:
        # First what is committed: what is paid a moment later can only be more.
        committed = frozenset(bought(db))
        return cls(what, final_share(units(db)), committed, dict(paid(server)))

    def __str__(self) -> str:
        again = sum(self.paid.values()) - len(self.paid)
        return f"  {self.what}: {self.share:.0%} final, {len(self.committed):,} committed, {again} paid again"

    def assert_nothing_is_paid_again(self, server: OpenAIServer) -> None:
        """Assert that no call committed by then was bought since."""
        later = paid(server)
        assert {call: later[call] for call in self.committed} == {
            call: self.paid[call] for call in self.committed
        }


def net_is_cut(net: Network, db: Database, server: OpenAIServer, worker: subprocess.Popen[bytes]) -> Moment:
    """The first teacher's host is away for a minute; meanwhile the second's line is bad for a while."""
    moment = Moment.now("teacher-1 is cut off", db, server)
    net.cut_off("teacher-1")
    ended = time.monotonic() + AWAY_SECONDS
    time.sleep(AWAY_SECONDS / 4)  # an outage is nothing but time
    net.slow_down("teacher-2")
    time.sleep(AWAY_SECONDS / 3)
    before = final_share(units(db))
    net.speed_up("teacher-2")
    time.sleep(max(0.0, ended - time.monotonic()))
    assert not holds(db, worker), "what it held is free"
    assert final_share(units(db)) > max(before, moment.share), "the others went on"
    net.join("teacher-1")
    return moment


def holds(db: Database, worker: subprocess.Popen[bytes]) -> bool:
    """Tell if this worker holds a unit under a live lease."""
    of_worker = UNITS.c.lease_owner.like(f"%:{worker.pid}:%")
    query = select(UNITS.c.id).where(of_worker, unit_is_held(time.time()))
    with db.read() as connection:
        return connection.execute(query).first() is not None


@contextmanager
def feed_service(net: Network, home: Home) -> Iterator[subprocess.Popen[bytes]]:
    command = [*starmill_on(net, "broker"), "feed"]
    log = home.path.with_name("feed.log")
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, env=home.environment, cwd=home.path.parent, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def plan(db: Database, home: Home, data: Path, server: OpenAIServer) -> None:
    endpoint = {"base_url": server.url, "max_concurrency": CALLS_AT_ONCE}
    path = write_experiment(
        data, server.url, rationale={"passes": 1},
        teacher={"backend": "openai", "model": "large", **endpoint},
        students=[{"name": "small", "backend": "server", "model": "small", **endpoint}],
        grid={"shots": [0, 2], "retrieval": [False], "rationale": ["none", "star"]},
    )  # fmt: skip
    experiment = load_experiment(str(path))
    bring_up_to_date(experiment, Settings(home=home.path, _env_file=None))  # type: ignore[call-arg]
    runs.plan_run(db, "run", experiment, read_dataset(experiment), time.time())
