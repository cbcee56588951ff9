"""An outcome that a database refuses ends its own unit, with its price booked, and no other unit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from models.core.types import Rejection, Usage
from storage.database import Database
from storage.ledger import counts
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from storage.ledger.purchases import Purchase
from storage.schema import DONE, FAILED, READY, RUNNING, TRAIN
from storage.settings import Settings
from tests.support.clock import Clock
from tests.support.small_run import Hand, ids, plan, purchase, request, units
from worker import execute_unit
from worker.commit import commit_outcomes
from worker.runtime import Runtime

NUL, HALF = "a\0b", "caf\ud83d"
COST = 1_500
ON_FAILURE = {"on_failure": "fail"}


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
def runtime(database: Database, clock: Clock, tmp_path: Path) -> Iterator[Runtime]:
    url = database.url.render_as_string(hide_password=False)
    opened = Runtime(Settings(home=tmp_path, database_url=url, lease_seconds=1), clock=clock)
    yield opened
    opened.close()
    opened._loop.close()  # a worker leaves that to the end of its process


def bought(words: str, **completion: Any) -> Purchase:
    asked = purchase(request(words), cost=COST)
    return replace(asked, completion=replace(asked.completion, **completion))


BAD: dict[str, Callable[[ClaimedUnit], UnitOutcome]] = {
    "NUL in a detail": lambda unit: UnitOutcome(unit, reason="x", detail=NUL, purchase=bought("bad")),
    "half a surrogate": lambda unit: UnitOutcome(unit, reason="x", detail=HALF, purchase=bought("bad")),
    "reason of 99 letters": lambda unit: UnitOutcome(unit, reason="x" * 99, purchase=bought("bad")),
    "no JSON": lambda unit: UnitOutcome(unit, {"query": object()}, purchase=bought("bad")),
    "no JSON number": lambda unit: UnitOutcome(unit, {"query": float("nan")}, purchase=bought("bad")),
    "answer with NUL": lambda unit: UnitOutcome(unit, {"query": "q"}, purchase=bought("bad", text=NUL)),
    "answer with half": lambda unit: UnitOutcome(unit, {"query": "q"}, purchase=bought("bad", text=HALF)),
    "finish reason 5": lambda unit: UnitOutcome(
        unit, {"query": "q"}, purchase=bought("bad", finish_reason=HALF)
    ),
    "tokens": lambda unit: UnitOutcome(
        unit, {"query": "q"}, purchase=bought("bad", usage=Usage(10**30, 0, 5))
    ),
    "rejection": lambda unit: UnitOutcome(
        unit, reason="x", rejection=Rejection("null", HALF), generation=None, purchase=bought("bad")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_outcome_fails_alone(name: str, database: Database, clock: Clock, runtime: Runtime) -> None:
    run = plan(database, clock, train=4, augment=ON_FAILURE)
    hand = Hand(database, run, clock)
    taken = hand.take(TRAIN, "augment")
    bad = BAD[name](taken[1])
    outcomes = [
        bad if unit is taken[1] else UnitOutcome(unit, {"query": "q"}, purchase=bought(f"{unit.unit_id}"))
        for unit in taken
    ]

    async def commit() -> list[UnitOutcome]:
        return await commit_outcomes(runtime, await runtime.context("small-1"), outcomes)

    stored = runtime.wait_for(commit())
    assert [each.unit.unit_id for each in stored] == [unit.unit_id for unit in taken]
    rows = {row.id: row for row in units(database, stage="augment", split=TRAIN)}
    assert {row.lease_owner for row in rows.values()} == {None}
    assert [rows[unit.unit_id].state for unit in taken if unit is not taken[1]] == [DONE] * 3
    row = rows[taken[1].unit_id]
    if row.reason != bad.reason or row.state != (DONE if bad.result else FAILED):
        assert (row.state, row.reason) == (FAILED, "not_storable")
        assert row.detail.isprintable()
        assert len(row.detail) < 500
    assert counts.spending(database, "small-1").cost_nano_usd == 4 * COST


def test_unstorable_answer_of_a_rejection_is_booked(
    database: Database, clock: Clock, runtime: Runtime
) -> None:
    hand = Hand(database, plan(database, clock), clock)
    [unit, *_] = hand.take(TRAIN, "augment")
    call = bought("bad", usage=Usage(10**30, 0, 5))
    rejection = Rejection("null", "why")
    with pytest.raises(Exception, match=r"too large|out of range"):
        runtime.wait_for(runtime.ledger.reject(unit, rejection, call.request.key, call))
    assert counts.spending(database, "small-1").cost_nano_usd == COST


def test_run_that_cannot_be_loaded_ends_the_worker_and_keeps_no_lease(
    database: Database, clock: Clock, runtime: Runtime
) -> None:
    plan(database, clock)
    with database.write() as connection:
        connection.execute(text("UPDATE run SET config = '{\"name\": 5}'"))
    runtime.wait_for(execute_unit.execute_units(runtime, ids(database, stage="augment")))
    with database.read() as connection:
        assert connection.execute(text("SELECT state FROM run")).scalar_one() == RUNNING
    assert "small-1" in runtime.unusable
    assert {row.lease_owner for row in units(database)} == {None}
    assert {row.state for row in units(database, stage="augment")} == {READY}


def test_unit_that_cannot_be_read_fails_alone(database: Database, clock: Clock, runtime: Runtime) -> None:
    plan(database, clock)
    bad, *others = ids(database, stage="augment", split=TRAIN)
    with database.write() as connection:
        connection.execute(text("UPDATE unit SET example_id = 0 WHERE id = :bad"), {"bad": bad})

    async def claim_all() -> list[ClaimedUnit]:
        return await execute_unit.claim(runtime, [bad, *others])

    claimed = runtime.wait_for(claim_all())
    assert [unit.unit_id for unit in claimed] == others
    [row] = units(database, id=bad)
    assert (row.state, row.reason, row.lease_owner) == (FAILED, "not_readable", None)
