"""Shares of feeders: their inputs, and that they become even."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event

from producer.feeding.shares import MIN_UNITS, REFRESH_SECONDS, Shares
from storage.database import Database
from storage.ledger import claims, counts, runs, scheduling
from storage.schema import BATCH
from tests.support.clock import Clock
from tests.support.small_run import LEASE, PATIENCE, Hand, claim_units, ids, plan, take_sendable

TEACHER = "model.large"


def two_runs(db: Database, clock: Clock, large: int = 400, small: int = 10) -> None:
    plan(db, clock, "large", train=large)
    plan(db, clock, "small", train=small, seed=1)


def room(shares: Shares, run: str, waiting: int) -> int:
    return shares.rooms(run, {TEACHER: waiting})[TEACHER]


def test_units_in_hand_are_counted_by_queue_and_run(database: Database, clock: Clock) -> None:
    two_runs(database, clock)
    augment = ids(database, "large", stage="augment")
    retrieve = ids(database, "small", stage="retrieve", split="test")
    claim_units(database, "a worker", augment[:3], clock())
    claim_units(database, "worker", retrieve, clock())
    claims.claim_units(database, BATCH, augment[3:9], clock())
    assert counts.in_flight(database, clock()) == {(TEACHER, "large"): 3, ("retrieve", "small"): 2}
    clock.advance(LEASE + 1)
    assert counts.in_flight(database, clock()) == {}


def test_demands_are_those_of_running_runs_and_bounded(database: Database, clock: Clock) -> None:
    two_runs(database, clock)
    claims.claim_units(database, BATCH, ids(database, "small", stage="augment")[:4], clock())
    assert counts.demand_by_run(database, {TEACHER: 100, "judge": 9}) == {
        TEACHER: {"large": 100, "small": 6},
        "judge": {"large": 0, "small": 0},
    }
    runs.stop_run(database, "large", "enough")
    assert counts.demand_by_run(database, {TEACHER: 100}) == {TEACHER: {"small": 6}}


def test_claimed_units_wait_no_longer(database: Database, clock: Clock) -> None:
    plan(database, clock)
    first, second, third = ids(database, stage="augment")
    assert scheduling.unclaimed_units(database, [first, third], clock()) == {first, third}
    claim_units(database, "worker", [first, second], clock())
    assert scheduling.unclaimed_units(database, [first, second, third], clock()) == {third}
    clock.advance(LEASE + 1)
    assert scheduling.unclaimed_units(database, [first, second, third], clock()) == {first, second, third}


def test_new_run_gets_its_share_at_once(database: Database, clock: Clock) -> None:
    plan(database, clock, "large", train=400)
    alone = Shares(database, clock)
    assert room(alone, "large", 0) == MIN_UNITS
    assert room(alone, "large", MIN_UNITS) == 0
    plan(database, clock, "small", train=10, seed=1)
    clock.advance(REFRESH_SECONDS)
    assert room(alone, "large", MIN_UNITS) == -10
    # Another process comes to the same numbers.
    assert room(Shares(database, clock), "small", 0) == MIN_UNITS - 10


def test_units_in_hand_count_and_as_many_may_wait(database: Database, clock: Clock) -> None:
    two_runs(database, clock, large=400, small=400)
    held = ids(database, "large", stage="augment")[:200]
    claim_units(database, "worker", held, clock())
    each = Shares(database, clock)
    assert room(each, "small", 0) == 200
    # All that workers hold is the large run's: it is to have no more than what keeps it alive.
    assert room(each, "large", 0) == MIN_UNITS // 2


def test_two_feeders_send_in_turn(database: Database, clock: Clock) -> None:
    """A worker that does fifty units at a time, first come first served: the runs go on evenly, also
    while the first of them had the queue for itself before."""
    plan(database, clock, "first", train=400)
    rooms = {run: Shares(database, clock) for run in ("first", "second")}
    queue: list[tuple[str, int]] = []
    done = {"first": 0, "second": 0}
    order = list(rooms)

    def turn() -> None:
        order.reverse()  # as it comes in time, where feeders are not in step
        for run in order:
            share = rooms[run]
            waiting = sum(1 for of, _ in queue if of == run)
            limit = max(0, room(share, run, waiting))
            taken = take_sendable(database, run, TEACHER, limit, clock(), PATIENCE)
            queue.extend((run, unit.unit_id) for unit in taken)
        next_units, queue[:] = [unit for _, unit in queue[:50]], queue[50:]
        for claimed in claim_units(database, "worker", next_units, clock()):
            Hand(database, runs.load_run(database, claimed.run_id), clock).done(claimed)
            done[claimed.run_id] += 1
        clock.advance(REFRESH_SECONDS)

    for _ in range(3):
        turn()
    plan(database, clock, "second", train=400, seed=1)
    before = done["first"]
    for _ in range(6):
        turn()
    # What was in the queue before it came is done first; from then on they take turns.
    waited = MIN_UNITS - 50
    assert done["second"] >= 0.8 * (6 * 50 - waited) / 2
    assert done["first"] - before + done["second"] == 6 * 50


def test_counting_units_in_hand_reads_no_other_ready_units(database: Database, clock: Clock) -> None:
    two_runs(database, clock)
    if not database.is_sqlite:
        return
    statements: list[tuple[str, Any]] = []
    event.listen(database.engine, "before_cursor_execute", lambda *call: statements.append(call[2:4]))
    counts.in_flight(database, clock())
    statement, parameters = statements[-1]
    with database.read() as connection:
        plan_ = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert "USING INDEX unit_lease" in str(plan_)
    assert "unit_ready" not in str(plan_)
