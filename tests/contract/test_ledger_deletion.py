"""Runs are deleted whole, while others go on, and what others use stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from models.core.errors import UsageError
from models.core.types import Example, Rejection
from storage.database import Database
from storage.ledger import deletion, runs, scheduling
from storage.ledger.deletion import DAY, RunRows, count_rows, delete_runs, idle_runs
from storage.ledger.purchases import CallClaim, reserve
from storage.schema import (
    BATCHES,
    EXAMPLES,
    FINISHED,
    GENERATIONS,
    LEASES,
    REJECTIONS,
    RUNS,
    SPENDING,
    SUBMITTED,
    TRAIN,
    UNIT_COUNTS,
    UNITS,
)
from tests.support.clock import Clock
from tests.support.ledger_data import NOW, LedgerRun, example, finish_train
from tests.support.small_run import Hand, claim_units, ids, plan, request

TABLES = (RUNS, UNITS, REJECTIONS, GENERATIONS, SPENDING, UNIT_COUNTS, EXAMPLES, BATCHES)
ROWS = [example(row) for row in range(3)]


def sizes(db: Database) -> dict[str, int]:
    with db.read() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in TABLES
        }


def ended(db: Database, run_id: str, rows: Sequence[Example] = ROWS) -> LedgerRun:
    """A run of three train rows whose train part is done; it no longer runs, and nobody holds a unit."""
    planned = LedgerRun.plan(db, rows, rows, run_id)
    planned.reject(TRAIN, "augment", Rejection("empty", "no text"), "")
    finish_train(planned)
    runs.stop_run(db, run_id, "", paused=True)
    with db.write() as connection:
        connection.execute(LEASES.delete())
    return planned


@pytest.mark.parametrize("chunk", [2, deletion.CHUNK])
def test_a_deleted_run_leaves_its_answers_only(database: Database, chunk: int) -> None:
    ended(database, "a")
    before = sizes(database)
    [counted] = count_rows(database, ["a"])
    assert counted == RunRows("a", before["unit"], before["rejection"], before["generation"])
    gone = delete_runs(database, ["a"], NOW, chunk=chunk)
    assert sizes(database) == {name: before[name] if name == "generation" else 0 for name in before}
    assert gone == {name: number for name, number in before.items() if number and name != "generation"}
    again = ended(database, "b")
    assert sizes(database)["unit"] == before["unit"]
    assert again.reload().planned == before["unit"]


def test_what_another_run_uses_stays(database: Database) -> None:
    ended(database, "a")
    alone = sizes(database)
    ended(database, "b")  # on the same rows, with the same answers
    ended(database, "c", [example(row, f"other {row}") for row in range(3)])
    with database.write() as connection:
        spare = connection.execute(select(GENERATIONS).limit(1)).mappings().one()
        connection.execute(insert(GENERATIONS).values({**spare, "key": "spare"}))
    both = sizes(database)
    delete_runs(database, ["a", "c"], NOW, answers=True)
    left = sizes(database)
    assert left == alone | {"generation": left["generation"], "spending": 0}  # the others bought for it
    with database.read() as connection:
        used = set(connection.scalars(select(UNITS.c.generation).where(UNITS.c.generation.is_not(None))))
        assert used == set(connection.scalars(select(GENERATIONS.c.key).where(GENERATIONS.c.key.in_(used))))
    assert left["generation"] == both["generation"] - 1 > 0
    delete_runs(database, ["b"], NOW, answers=True)
    assert not any(sizes(database).values())


def test_a_deletion_that_was_interrupted_is_taken_up(database: Database) -> None:
    ended(database, "a")
    with database.write() as connection:
        connection.execute(RUNS.delete())
        connection.execute(UNITS.delete().where(UNITS.c.id.in_(select(UNITS.c.id).limit(4))))
    delete_runs(database, [], NOW, answers=True)
    assert not any(sizes(database).values())


def test_calls_without_an_answer_go_with_their_run(database: Database, clock: Clock) -> None:
    plan(database, clock)
    [unit] = claim_units(database, "worker", ids(database, stage="augment")[:1], clock())
    reserve(database, "worker", [CallClaim(unit, request())], clock())
    runs.stop_run(database, "small-1", "", paused=True)
    delete_runs(database, ["small-1"], clock() + 1000)
    assert not any(sizes(database).values())


def test_a_run_at_work_is_refused(database: Database, clock: Clock) -> None:
    hand = Hand(database, plan(database, clock), clock)

    def refused(line: str) -> None:
        with pytest.raises(UsageError, match=line):
            delete_runs(database, ["small-1"], clock())
        with pytest.raises(UsageError, match=line):
            deletion.require_idle(database, ["small-1"], clock())
        assert sizes(database)["run"] == 1

    refused("run small-1 is running; pause it first: starmill pause small-1")
    scheduling.claim_feeding(database, "small-1", "feeder", clock(), 10.0)
    refused("run small-1 is being fed by feeder; pause it")
    clock.advance(11)
    hand.take(TRAIN, "augment")
    runs.stop_run(database, "small-1", "", paused=True)
    refused(r"workers still hold \d units of run small-1")
    clock.advance(1000)
    batch = {"id": "b", "run_id": "small-1", "state": SUBMITTED, "endpoint": "e", "requests": 1,
             "answered": 0, "refused": 0, "message": "", "created_at": clock()}  # fmt: skip
    with database.write() as connection:
        connection.execute(insert(BATCHES).values(batch))
    refused("run small-1 has 1 batches at the provider, which are paid")
    clock.advance(2 * DAY + 1)
    assert delete_runs(database, ["small-1"], clock())["run"] == 1


def test_idle_runs_are_those_that_ended_or_were_left_long_ago(database: Database) -> None:
    for name in ("old", "left", "new", "running"):
        LedgerRun.plan(database, ROWS, [], name)
    states: dict[str, dict[str, Any]] = {
        "old": {"state": FINISHED, "finished_at": NOW + DAY},
        "left": {"state": "paused"},
        "new": {"state": FINISHED, "finished_at": NOW + 8 * DAY},
        "running": {},
    }
    with database.write() as connection:
        for name, values in states.items():
            connection.execute(update(RUNS).where(RUNS.c.id == name).values(started_at=NOW, **values))
    assert set(idle_runs(database, 7, NOW + 9 * DAY)) == {"old", "left"}
