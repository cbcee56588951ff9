"""A ledger that refuses a statement, whatever the row, blames no row: the run pauses, or the worker ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from storage.database import Database
from storage.ledger import runs
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from storage.schema import DONE, PAUSED, READY, TRAIN
from storage.settings import Settings
from tests.support.clock import Clock
from tests.support.small_run import ids, plan, purchase, request, units
from worker import execute_unit
from worker.commit import commit_outcomes, give_back
from worker.runtime import Runtime

RUN = "small-1"


@pytest.fixture
def runtime(database: Database, tmp_path: Path) -> Iterator[Runtime]:
    url = database.url.render_as_string(hide_password=False)
    opened = Runtime(Settings(home=tmp_path, database_url=url))
    plan(database, Clock(time.time()))
    yield opened
    opened.close()
    opened._loop.close()  # a worker leaves that to the end of its process


@contextmanager
def without_table(db: Database, name: str) -> Iterator[None]:
    def rename(before: str, after: str) -> None:
        with db.write() as connection:
            connection.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))

    rename(name, "gone")
    try:
        yield
    finally:
        rename("gone", name)


def claim(runtime: Runtime, unit_ids: list[int]) -> list[ClaimedUnit]:
    return runtime.wait_for(execute_unit.claim(runtime, unit_ids))


def finish(runtime: Runtime, claimed: list[ClaimedUnit]) -> None:
    """Commit results as a worker does."""

    async def commit() -> None:
        outcomes = [
            UnitOutcome(unit, {"query": "q"}, purchase=purchase(request(str(unit.unit_id))))
            for unit in claimed
        ]
        try:
            await commit_outcomes(runtime, await runtime.context(RUN), outcomes)
        except Exception as error:  # noqa: BLE001 (as where units are executed)
            await give_back(runtime, claimed, error)

    runtime.wait_for(commit())


def test_refused_result_pauses_the_run_and_is_stored_after_it_goes_on(
    database: Database, runtime: Runtime
) -> None:
    unit_ids = ids(database, stage="augment", split=TRAIN)
    claimed = claim(runtime, unit_ids)
    with without_table(database, "generation"):
        finish(runtime, claimed)
        state, message = runs.run_state(database, RUN)
    assert state == PAUSED
    assert message.startswith("a worker cannot execute it: the database refuses a statement: ")
    assert "generation" in message
    assert not runtime.unusable
    rows = units(database, stage="augment", split=TRAIN)
    assert {(row.state, row.lease_owner, row.attempts) for row in rows} == {(READY, None, 0)}
    runs.start_run(database, RUN, time.time())
    finish(runtime, claim(runtime, unit_ids))
    assert {row.state for row in units(database, stage="augment", split=TRAIN)} == {DONE}


def test_worker_that_may_not_claim_ends_with_one_line(database: Database, runtime: Runtime) -> None:
    unit_ids = ids(database, stage="augment", split=TRAIN)
    with without_table(database, "example"):
        assert claim(runtime, unit_ids) == []
    assert runtime.unusable.startswith("the database refuses a statement: ")
    assert "\n" not in runtime.unusable
    rows = units(database, stage="augment", split=TRAIN)
    assert {(row.state, row.lease_owner) for row in rows} == {(READY, None)}
