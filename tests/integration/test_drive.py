"""`starmill run` watches if another process feeds the run, and feeds it otherwise."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from models.core.errors import UsageError
from producer.feeding.feeder import Feeder
from producer.feeding.interrupts import StopSignal
from producer.feeding.run_loop import StoppedWatching, feed_or_watch
from producer.local.supervisor import Supervisor
from storage.broker import Queues
from storage.database import Database
from storage.ledger import runs, scheduling
from storage.ledger.runs import Run
from storage.schema import RUNNING
from storage.settings import Settings
from tests.support.clock import Clock
from tests.support.small_run import plan

LEASE = 60.0


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    return Settings(home=tmp_path, redis_url=redis_url, _env_file=None)  # type: ignore[call-arg]


@pytest.fixture
def run(database: Database) -> Run:
    return plan(database, Clock(time.time()), started=False)


@pytest.fixture
def stop() -> StopSignal:
    """Asked for before anything is done."""
    asked = StopSignal()
    asked.requested = True
    return asked


def test_run_without_feeder_is_fed_here(
    database: Database, run: Run, settings: Settings, stop: StopSignal
) -> None:
    with pytest.raises(KeyboardInterrupt) as raised:
        feed_or_watch(database, run, settings, None, lambda _status: None, stop)
    assert not isinstance(raised.value, StoppedWatching)
    # It leads no more, so that another may at once.
    assert scheduling.current_feeder(database, run.id, time.time()) == ""


def test_stopped_watcher_is_told_the_feeder(
    database: Database, run: Run, settings: Settings, stop: StopSignal
) -> None:
    scheduling.claim_feeding(database, run.id, "elsewhere:7:0", time.time(), LEASE)
    with pytest.raises(StoppedWatching) as raised:
        feed_or_watch(database, run, settings, None, lambda _status: None, stop)
    assert raised.value.leader == "elsewhere:7:0"
    assert runs.run_state(database, run.id)[0] == RUNNING
    assert scheduling.current_feeder(database, run.id, time.time()) == "elsewhere:7:0"


def test_local_run_is_fed_by_its_own_process(
    database: Database, run: Run, settings: Settings, stop: StopSignal, tmp_path: Path
) -> None:
    scheduling.claim_feeding(database, run.id, "elsewhere:7:0", time.time(), LEASE)
    with pytest.raises(UsageError, match="is being fed by elsewhere:7:0; watch it with"):
        feed_or_watch(database, run, settings, Supervisor(tmp_path), lambda _status: None, stop)


def test_a_dead_feeder_of_this_machine_is_replaced_at_once(
    database: Database, run: Run, settings: Settings
) -> None:
    feeder = Feeder(database, run, settings)
    host, _, processes = feeder.name.split(":")
    for dead, here in ((f"{host}:4194305:{processes}", True), (f"{host}:4194305:1", False)):
        scheduling.claim_feeding(database, run.id, dead, time.time(), LEASE)
        assert (feeder.lead() == feeder.name) is here
        scheduling.stop_feeding(database, run.id, feeder.name)
    feeder.close()


def test_feed_service_is_known_until_its_mark_expires(settings: Settings) -> None:
    broker = Queues(settings.broker)
    assert not broker.is_served()
    broker.announce(0.2)
    assert broker.is_served()
    time.sleep(0.3)  # Redis keeps its own time
    assert not broker.is_served()
    broker.close()
