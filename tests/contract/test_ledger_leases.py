"""A worker owns its claimed units while its lease is live, and nobody else's result counts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, select, text, update

from models.core.types import Rejection
from storage.database import Database
from storage.ledger import claims, counts, leases, outcomes, purchases, scheduling
from storage.ledger.batch_enqueue import enqueue_for_batch
from storage.ledger.outcomes import UnitOutcome
from storage.ledger.purchases import CallClaim
from storage.schema import DONE, LEASES, READY, UNITS
from tests.support.clock import Clock
from tests.support.pipeline import wait_until
from tests.support.small_run import (
    LEASE,
    PATIENCE,
    Hand,
    claim_one,
    claim_units,
    ids,
    plan,
    purchase,
    race,
    request,
    take_sendable,
    units,
)


def leaseholders(db: Database) -> set[str]:
    with db.read() as connection:
        return set(connection.scalars(select(LEASES.c.owner)))


def owners(db: Database) -> list[str | None]:
    return [unit.lease_owner for unit in units(db, stage="augment")]


@pytest.fixture
def augment(database: Database, clock: Clock) -> list[int]:
    """Three units that are ready."""
    plan(database, clock)
    return ids(database, stage="augment")


def test_units_of_a_killed_worker_are_sent_and_claimed_when_its_lease_ends(
    database: Database, clock: Clock, augment: list[int]
) -> None:
    sent = take_sendable(database, "small-1", "model.large", 9, clock(), PATIENCE)
    assert [unit.unit_id for unit in sent] == augment
    claim_units(database, "killed", augment, clock())
    clock.advance(LEASE)
    assert take_sendable(database, "small-1", "model.large", 9, clock(), PATIENCE) == []
    assert counts.in_flight(database, clock()) == {("model.large", "small-1"): 3}
    assert claim_units(database, "other", augment, clock()) == []
    clock.advance(0.1)
    assert counts.in_flight(database, clock()) == {}
    assert counts.funnel(database, "small-1", clock()).total(stage="augment") == {READY: 3}
    sent = take_sendable(database, "small-1", "model.large", 9, clock(), PATIENCE)
    assert [unit.unit_id for unit in sent] == augment
    assert [unit.unit_id for unit in claim_units(database, "other", augment, clock())] == augment


def test_heartbeat_keeps_what_one_worker_holds(database: Database, clock: Clock, augment: list[int]) -> None:
    mine, theirs, _ = augment
    claim_units(database, "me", [mine], clock())
    claim_units(database, "they", [theirs], clock())
    for _ in range(5):
        clock.advance(LEASE * 0.75)
        leases.extend_lease(database, "me", clock(), LEASE)
    assert [unit.unit_id for unit in claim_units(database, "other", [mine, theirs], clock())] == [theirs]


def test_owner_without_a_lease_holds_nothing(database: Database, clock: Clock, augment: list[int]) -> None:
    claim_units(database, "lost", augment, clock())
    with database.write() as connection:
        connection.execute(delete(LEASES))
    assert scheduling.unclaimed_units(database, augment, clock()) == set(augment)
    assert len(claim_units(database, "other", augment, clock())) == 3


def test_racing_workers_take_over_each_unit_once(database: Database, clock: Clock) -> None:
    plan(database, clock, train=100, test=1)
    wanted = ids(database, stage="augment")
    claim_units(database, "killed", wanted, clock())
    clock.advance(LEASE + 1)
    claimed = race(8, lambda number: claim_units(database, f"w{number}", wanted, clock()))
    assert sorted(unit.unit_id for mine in claimed for unit in mine) == wanted
    by_unit = {unit.unit_id: unit.owner for mine in claimed for unit in mine}
    assert by_unit == {unit.id: unit.lease_owner for unit in units(database, stage="augment")}


def test_slow_claim_leaves_a_unit_to_a_worker_that_began_meanwhile(
    database: Database, clock: Clock, augment: list[int]
) -> None:
    """The statement began before the other's lease, and waited for the lock of another unit."""
    if database.is_sqlite:
        return  # one statement at a time writes, and sees all that was written before
    locked, wanted, _ = augment
    claim_units(database, "slow", [], clock())
    with ThreadPoolExecutor(1) as pool:
        with database.write() as connection:
            connection.execute(update(UNITS).where(UNITS.c.id == locked).values(sent_at=clock()))
            waiting = pool.submit(claims.claim_units, database, "slow", [locked, wanted], clock())
            wait_until(lambda: waits_for_a_lock(database), "the statement waits")
            assert len(claim_units(database, "new", [wanted], clock())) == 1
        assert [unit.unit_id for unit in waiting.result()] == [locked]


def waits_for_a_lock(db: Database) -> bool:
    with db.read() as connection:
        query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(connection.execute(query).scalar())


def test_worker_that_slept_changes_nothing_of_a_unit_that_another_has_claimed(
    database: Database, clock: Clock, augment: list[int]
) -> None:
    hand = Hand(database, plan(database, clock, "small-2", seed=1), clock)
    slept = claim_one(database, clock, augment[0], "slept")
    clock.advance(LEASE + 1)
    taken = claim_one(database, clock, augment[0], "other")
    leases.extend_lease(database, "slept", clock(), LEASE)
    bought = purchase(request())
    assert (
        outcomes.finish_units(database, [UnitOutcome(slept, {"query": "q"}, purchase=bought)], clock()) == 0
    )
    outcomes.record_rejection(database, slept, Rejection("null"), 0, "0" * 64, None, clock())
    claims.release_units(database, "slept", [slept.unit_id])
    claims.release_lost(database, "slept", [slept.unit_id])
    leases.end_lease(database, "slept")
    [unit] = units(database, id=slept.unit_id)
    assert (unit.state, unit.lease_owner, unit.attempts, unit.rejections) == (READY, "other", 2, 0)
    assert counts.rejection_reasons(database, "small-1") == {}
    # What it paid for is kept, and serves the other.
    assert purchases.reserve(database, "other", [CallClaim(taken, request())], clock()) == [bought.completion]
    assert hand.done(taken) == 1
    assert units(database, id=slept.unit_id)[0].worker == "other"


def test_worker_that_slept_commits_what_nobody_has_claimed(
    database: Database, clock: Clock, augment: list[int]
) -> None:
    slept = claim_one(database, clock, augment[0], "slept")
    clock.advance(LEASE + 1)
    leases.extend_lease(database, "another", clock(), LEASE)
    assert outcomes.finish_units(database, [UnitOutcome(slept, {"query": "q"})], clock()) == 1
    assert units(database, id=slept.unit_id)[0].state == DONE


def test_worker_that_stops_gives_back_its_units_and_its_lease(
    database: Database, clock: Clock, augment: list[int]
) -> None:
    take_sendable(database, "small-1", "model.large", 9, clock(), PATIENCE)
    mine, filed, theirs = augment
    [_, awaiting] = claim_units(database, "me", [mine, filed], clock())
    claim_units(database, "they", [theirs], clock())
    enqueue_for_batch(database, "me", [awaiting], CallClaim(awaiting, request()), clock())
    leases.end_lease(database, "me")
    assert owners(database) == [None, "batch", "they"]
    assert leaseholders(database) == {"they"}
    [unit] = units(database, id=mine)
    assert (unit.state, unit.attempts) == (READY, 0)
    sent = take_sendable(database, "small-1", "model.large", 9, clock(), PATIENCE)
    assert [unit.unit_id for unit in sent] == [mine]


def test_ended_leases_go_when_nothing_is_claimed_under_them(
    database: Database, clock: Clock, augment: list[int]
) -> None:
    claim_units(database, "holds one", augment[:1], clock())
    claim_units(database, "holds none", [], clock())
    clock.advance(LEASE / 2)
    claim_units(database, "live", [], clock())
    clock.advance(LEASE / 2 + 1)
    leases.extend_lease(database, "new", clock(), LEASE)
    assert leaseholders(database) == {"holds one", "live", "new"}
    claim_units(database, "live", augment[:1], clock())
    leases.extend_lease(database, "newer", clock(), LEASE)
    assert leaseholders(database) == {"live", "new", "newer"}


def test_units_that_await_a_batch_need_no_lease(database: Database, clock: Clock, augment: list[int]) -> None:
    unit = claim_one(database, clock, augment[0], "stopped")
    enqueue_for_batch(database, "stopped", [unit], CallClaim(unit, request()), clock())
    leases.end_lease(database, "stopped")
    clock.advance(10 * LEASE)
    assert claim_units(database, "other", augment[:1], clock()) == []
    assert counts.funnel(database, "small-1", clock()).total(stage="augment")["in_flight"] == 1
    assert owners(database) == ["batch", None, None]
