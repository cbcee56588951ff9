"""Shares of feeders: their inputs, and that they become even."""

from __future__ import annotations

from producer.feeding.feeder import MIN_UNITS, REFRESH_SECONDS, Shares
from storage.database import Database
from storage.ledger import claims, runs, scheduling
from storage.schema import BATCH, FOREVER
from tests.support.clock import Clock
from tests.support.small_run import LEASE, PATIENCE, Hand, ids, plan

TEACHER = "teacher.teacher"


def two_runs(db: Database, clock: Clock, large: int = 400, small: int = 10) -> None:
    plan(db, clock, "large", train=large)
    plan(db, clock, "small", train=small, seed=1)


def test_units_in_hand_are_counted_by_queue_and_run(database: Database, clock: Clock) -> None:
    two_runs(database, clock)
    augment = ids(database, "large", stage="augment")
    retrieve = ids(database, "small", stage="retrieve", split="test")
    claims.claim_units(database, "a worker", augment[:3], clock(), LEASE)
    claims.claim_units(database, "worker", retrieve, clock(), LEASE)
    claims.claim_units(database, BATCH, augment[3:9], clock(), FOREVER)
    assert scheduling.in_flight(database, clock()) == {(TEACHER, "large"): 3, ("retrieve", "small"): 2}
    clock.advance(LEASE + 1)
    assert scheduling.in_flight(database, clock()) == {}


def test_demands_are_those_of_running_runs_and_bounded(database: Database, clock: Clock) -> None:
    two_runs(database, clock)
    claims.claim_units(database, BATCH, ids(database, "small", stage="augment")[:4], clock(), FOREVER)
    assert scheduling.demand_by_run(database, TEACHER, 100) == {"large": 100, "small": 6}
    assert scheduling.demand_by_run(database, "judge", 100) == {"large": 0, "small": 0}
    runs.stop_run(database, "large", "enough")
    assert scheduling.demand_by_run(database, TEACHER, 100) == {"small": 6}


def test_claimed_units_wait_no_longer(database: Database, clock: Clock) -> None:
    plan(database, clock)
    first, second, third = ids(database, stage="augment")
    assert scheduling.unclaimed_units(database, [first, third], clock()) == {first, third}
    claims.claim_units(database, "worker", [first, second], clock(), LEASE)
    assert scheduling.unclaimed_units(database, [first, second, third], clock()) == {third}
    clock.advance(LEASE + 1)
    assert scheduling.unclaimed_units(database, [first, second, third], clock()) == {first, second, third}


def test_new_run_gets_its_share_at_once(database: Database, clock: Clock) -> None:
    plan(database, clock, "large", train=400)
    alone = Shares(database, clock)
    assert alone.room(TEACHER, "large", 0) == MIN_UNITS
    assert alone.room(TEACHER, "large", MIN_UNITS) == 0
    plan(database, clock, "small", train=10, seed=1)
    clock.advance(REFRESH_SECONDS)
    assert alone.room(TEACHER, "large", MIN_UNITS) == -10
    # Another process comes to the same numbers.
    assert Shares(database, clock).room(TEACHER, "small", 0) == MIN_UNITS - 10


def test_units_in_hand_count_and_as_many_may_wait(database: Database, clock: Clock) -> None:
    two_runs(database, clock, large=400, small=400)
    held = ids(database, "large", stage="augment")[:200]
    claims.claim_units(database, "worker", held, clock(), LEASE)
    each = Shares(database, clock)
    assert each.room(TEACHER, "small", 0) == 200
    # All that workers hold is the large run's: it is to have no more than what keeps it alive.
    assert each.room(TEACHER, "large", 0) == MIN_UNITS // 2


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
            room = max(0, share.room(TEACHER, run, waiting))
            taken = scheduling.take_sendable(database, run, TEACHER, room, clock(), PATIENCE)
            queue.extend((run, unit) for unit, _, _ in taken)
        next_units, queue[:] = [unit for _, unit in queue[:50]], queue[50:]
        for claimed in claims.claim_units(database, "worker", next_units, clock(), LEASE):
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
