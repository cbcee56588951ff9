"""The queries by which KEDA scales workers, on a real PostgreSQL ledger: units that a worker could do now."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
import yaml
from sqlalchemy import update

from storage.database import Database
from storage.ledger import runs
from storage.schema import UNITS
from tests.support.clock import Clock
from tests.support.services import Postgres
from tests.support.small_run import Hand, claim_one, ids, plan, units

KEDA = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "keda"
TEACHER = {"backend": "openai", "model": "gpt-5-mini"}


def trigger(name: str) -> dict[str, str]:
    [only] = yaml.safe_load((KEDA / f"{name}.yaml").read_text())["spec"]["triggers"]
    return dict(only["metadata"])


@pytest.fixture
def ledger(postgres: Postgres) -> Database:
    db = Database(postgres.empty_ledger())
    yield db  # type: ignore[misc]
    db.close()


def backlog(ledger: Database, name: str) -> float:
    url = ledger.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        row = connection.execute(trigger(name)["query"]).fetchone()  # type: ignore[arg-type]
    assert row
    assert isinstance(row[0], int)
    return row[0]


def ready(ledger: Database, queue: str) -> int:
    return len(units(ledger, queue=queue, state="ready"))


def test_ready_units_of_each_queue_are_counted_whether_held_or_not(ledger: Database, clock: Clock) -> None:
    plan(ledger, clock, teacher=TEACHER)
    queues = {
        "teacher": "model.gpt-5-mini",
        "retrieve": "retrieve",
        "judge": "judge",
        "student": "model.small",
    }
    counts = {name: backlog(ledger, name) for name in queues}
    assert counts == {name: ready(ledger, queue) for name, queue in queues.items()}
    assert counts["teacher"] > 0
    # What a worker holds still needs it.
    claim_one(ledger, clock, ids(ledger, queue="model.gpt-5-mini", state="ready")[0])
    assert backlog(ledger, "teacher") == counts["teacher"]


def test_done_units_are_not_counted(ledger: Database, clock: Clock) -> None:
    run = plan(ledger, clock, teacher=TEACHER)
    before = backlog(ledger, "teacher")
    unit = ids(ledger, queue="model.gpt-5-mini", state="ready")[0]
    Hand(ledger, run, clock).done(claim_one(ledger, clock, unit))
    assert backlog(ledger, "teacher") == before - 1
    assert backlog(ledger, "retrieve") == ready(ledger, "retrieve") > 0


def test_runs_that_are_paused_or_wait_for_a_batch_need_no_worker(ledger: Database, clock: Clock) -> None:
    run = plan(ledger, clock, teacher=TEACHER)
    before = backlog(ledger, "teacher")
    parked = ids(ledger, queue="model.gpt-5-mini", state="ready")[0]
    with ledger.write() as connection:
        connection.execute(
            update(UNITS).where(UNITS.c.id == parked)
            .values(lease_owner="batch")
        )  # fmt: skip
    assert backlog(ledger, "teacher") == before - 1
    runs.stop_run(ledger, run.id, "paused by a test", paused=True)
    assert backlog(ledger, "teacher") == 0


def test_a_large_backlog_is_counted_up_to_a_bound(ledger: Database, clock: Clock) -> None:
    plan(ledger, clock, teacher=TEACHER, train=6000, test=1)
    with ledger.write() as connection:
        connection.execute(update(UNITS).where(UNITS.c.queue == "model.gpt-5-mini").values(state="ready"))
    assert ready(ledger, "model.gpt-5-mini") > 10_000
    assert backlog(ledger, "teacher") == 10_000


@pytest.mark.parametrize("name", ["teacher", "retrieve", "judge", "student"])
def test_another_worker_is_started_when_one_has_more_than_its_threads_can_hold(name: str) -> None:
    folder = KEDA.parent / ("student/worker.yaml" if name == "student" else "base/workers.yaml")
    workers = {each["metadata"]["name"]: each for each in yaml.safe_load_all(folder.read_text()) if each}
    [container] = workers[name]["spec"]["template"]["spec"]["containers"]
    arguments = container["args"]
    threads = int(arguments[arguments.index("-c") + 1])
    assert float(trigger(name)["targetQueryValue"]) == 8 * threads
    for queue in arguments[arguments.index("-Q") + 1].split(","):
        assert f"'{queue}'" in trigger(name)["query"]
