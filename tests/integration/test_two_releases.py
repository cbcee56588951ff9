"""Workers and feeders of one release leave a ledger that another release has upgraded, with one line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import insert, select, text, update

from models.core.errors import ServiceError
from producer.feeding.interrupts import StopSignal
from producer.feeding.service import FeedService
from storage.database import MIGRATIONS, Database, ForeignSchema
from storage.ledger import runs
from storage.schema import LEASES, RUNNING, RUNS, UNITS
from storage.settings import Settings
from tests.support.clock import Clock
from tests.support.command_line import command_line, starmill
from tests.support.pipeline import Home, wait_until
from tests.support.serving import PASSWORD, served
from tests.support.small_run import ids, plan
from worker.execute_unit import execute_units
from worker.runtime import Runtime

LINE = "schema is 9999, this release needs 00"
REMEDY = "it was made by another release of Starmill: upgrade this one to it"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    with command_line(tmp_path, monkeypatch) as db:
        yield db


def upgrade(db: Database) -> None:
    """Leave the ledger as a later release does."""
    with db.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))


@pytest.mark.parametrize("words", [["feed"], ["runs"], ["ledger", "vacuum"]], ids=" ".join)
def test_a_command_of_before_refuses_the_ledger(
    words: list[str], ledger: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    upgrade(ledger)
    assert starmill(*words) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if "starmill: " in line]
    assert LINE in line
    assert line.endswith(REMEDY)


def test_a_feeder_that_runs_ends(ledger: Database, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", redis_url="redis://127.0.0.1:1/0")
    threading.Timer(0.3, upgrade, [ledger]).start()
    with StopSignal() as stop, pytest.raises(ForeignSchema, match=LINE):
        FeedService(ledger, settings).serve(stop)


def test_a_worker_that_runs_stops(ledger: Database, tmp_path: Path) -> None:
    stopped = threading.Event()
    settings = Settings(home=tmp_path / "home", redis_url="redis://127.0.0.1:1/0", lease_seconds=1)
    runtime = Runtime(settings, stopped.set)
    try:
        runtime.check()
        upgrade(ledger)
        wait_until(stopped.is_set, "the worker stops")
        assert LINE in runtime.unusable
        with pytest.raises(ServiceError, match=REMEDY):
            runtime.check()
    finally:
        runtime.close()
        runtime._loop.close()  # a worker leaves that to the end of its process


def test_a_migration_waits_for_no_lease(ledger: Database) -> None:
    """Who is too old stops, and its units are free when its lease has ended."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with ledger.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0011")
        connection.execute(insert(LEASES).values(owner="worker of before", expires_at=1e12))
    with pytest.raises(ForeignSchema, match="any producer command, such as `starmill runs`, upgrades it"):
        ledger.require_current()
    ledger.migrate()
    ledger.require_current()
    with ledger.read() as connection:
        assert connection.scalars(select(LEASES.c.owner)).all() == ["worker of before"]


def plan_strange(db: Database) -> None:
    """Plan a run with a key that a later release knows."""
    plan(db, Clock())
    with db.write() as connection:
        config = connection.execute(select(RUNS.c.config)).scalar_one()
        connection.execute(update(RUNS).values(config={**config, "mood": "good"}))


def test_the_page_shows_other_runs_and_says_what_it_cannot_read(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.ledger() as db:
        plan_strange(db)
        plan(db, Clock(), "readable")
    with served(home) as site:
        listed = site.ask("/", bearer=PASSWORD)
        assert (listed.status, "readable" in listed.text, "small-1" in listed.text) == (200, True, True)
        for path in ("/runs/small-1", "/runs/small-1/status.json", "/runs/small-1/rows"):
            reply = site.ask(path, bearer=PASSWORD)
            assert (reply.status, "was planned by another version of Starmill" in reply.text) == (
                409,
                True,
            ), path
        assert site.ask("/runs/readable", bearer=PASSWORD).status == 200
        assert site.ask("/metrics", bearer=PASSWORD).status == 200


def test_a_worker_leaves_a_run_that_it_cannot_read_to_others(ledger: Database, tmp_path: Path) -> None:
    plan_strange(ledger)
    runtime = Runtime(Settings(home=tmp_path / "home", redis_url="redis://127.0.0.1:1/0"))
    try:
        unit_ids = ids(ledger, stage="augment")
        runtime.wait_for(execute_units(runtime, unit_ids))
        assert "run small-1 was planned by another version of Starmill" in runtime.unusable
        assert runs.run_state(ledger, "small-1") == (RUNNING, "")
        untouched = select(UNITS.c.attempts, UNITS.c.lease_owner).where(UNITS.c.id.in_(unit_ids))
        with ledger.read() as connection:
            assert set(map(tuple, connection.execute(untouched))) == {(0, None)}
    finally:
        runtime.close()
        runtime._loop.close()
