"""A call that waits for a batch is filed once; its units are parked until there is an answer."""

from __future__ import annotations

import pytest

from models.core.types import Completion, Rejection, Usage
from storage.database import Database
from storage.ledger import batch_enqueue, batches, claims, counts, outcomes, purchases, runs, scheduling
from storage.ledger.batch_enqueue import BatchRefusal
from storage.ledger.claims import ClaimedUnit
from storage.ledger.counts import IN_FLIGHT
from storage.ledger.purchases import Busy, CallClaim
from storage.schema import READY, TRAIN
from tests.support.clock import Clock
from tests.support.small_run import (
    LEASE,
    PATIENCE,
    Hand,
    claim_units,
    plan,
    purchase,
    race,
    request,
    take_sendable,
    units,
)

ANSWER = Completion("This requires sorting.", "stop", Usage(100, 40, 20))
KEY = request().key


@pytest.fixture
def hand(database: Database, clock: Clock) -> Hand:
    return Hand(database, plan(database, clock), clock)


@pytest.fixture
def claimed_units(hand: Hand) -> list[ClaimedUnit]:
    """Three units under one worker's lease."""
    return hand.take(TRAIN, "augment")


def file(
    hand: Hand, *claimed_units: ClaimedUnit, owner: str = "worker", words: str = "sort a list"
) -> object:
    return batch_enqueue.enqueue_for_batch(
        hand.db, owner, claimed_units, CallClaim(claimed_units[0], request(words)), hand.clock()
    )


def parked(hand: Hand, run_id: str = "small-1") -> list[int]:
    return [unit.id for unit in units(hand.db, run_id) if unit.lease_owner == "batch"]


def in_flight(hand: Hand) -> int:
    return counts.funnel(hand.db, "small-1", hand.clock()).total()[IN_FLIGHT]


def again(hand: Hand, *claimed_units: ClaimedUnit) -> list[ClaimedUnit]:
    """The units as a worker claims them now."""
    return claim_units(hand.db, "worker", [work.unit_id for work in claimed_units], hand.clock())


def answer(hand: Hand, key: str = KEY) -> None:
    batches.store_answers(hand.db, [(key, ANSWER)], hand.run.experiment.teacher.price, hand.clock())


def test_enqueued_call_parks_its_unit(hand: Hand, claimed_units: list[ClaimedUnit]) -> None:
    assert file(hand, claimed_units[0]) is None
    [unit] = units(hand.db, id=claimed_units[0].unit_id)
    assert (unit.state, unit.lease_owner) == (READY, "batch")
    assert (unit.generation, unit.attempts) == (KEY, 0)
    assert batches.enqueued(hand.db, "small-1") == (1, hand.clock())


def test_several_units_wait_for_one_call(hand: Hand, claimed_units: list[ClaimedUnit]) -> None:
    assert file(hand, *claimed_units[:2]) is None
    assert file(hand, claimed_units[2]) is None
    assert parked(hand) == [work.unit_id for work in claimed_units]
    assert batches.enqueued(hand.db, "small-1")[0] == 1
    # The order of those it was first asked for stays.
    assert batch_enqueue.requests_of_call(hand.db, KEY) == ["sort 0", "sort 1"]
    assert batch_enqueue.requests_of_call(hand.db, "another") == []


def test_enqueueing_twice_changes_nothing(hand: Hand, claimed_units: list[ClaimedUnit], clock: Clock) -> None:
    file(hand, claimed_units[0])
    before = units(hand.db)
    clock.advance(5)
    assert file(hand, claimed_units[0]) is None
    assert units(hand.db) == before
    assert batches.enqueued(hand.db, "small-1") == (1, clock() - 5)


def test_racing_workers_enqueue_once(hand: Hand, claimed_units: list[ClaimedUnit]) -> None:
    assert race(6, lambda number: file(hand, claimed_units[number % 3])) == [None] * 6
    assert parked(hand) == [work.unit_id for work in claimed_units]
    assert batches.enqueued(hand.db, "small-1")[0] == 1


def test_only_units_of_the_worker_are_parked(hand: Hand, claimed_units: list[ClaimedUnit]) -> None:
    assert file(hand, *claimed_units, owner="another") is None
    assert parked(hand) == []


def test_parked_units_are_not_claimed_or_sent(
    hand: Hand, claimed_units: list[ClaimedUnit], clock: Clock
) -> None:
    file(hand, *claimed_units)
    clock.advance(10 * LEASE)
    claims.release_units(hand.db, "worker", [work.unit_id for work in claimed_units])
    purchases.abandon(hand.db, "worker", KEY)
    assert again(hand, *claimed_units) == []
    assert take_sendable(hand.db, "small-1", "model.large", 9, clock(), PATIENCE) == []
    runs.stop_run(hand.db, "small-1", "stopped by hand")
    runs.start_run(hand.db, "small-1", clock())
    assert parked(hand) == [work.unit_id for work in claimed_units]
    assert in_flight(hand) == 3
    assert not scheduling.finish_run(hand.db, "small-1", clock())


def test_an_answer_frees_its_units_at_once(hand: Hand, claimed_units: list[ClaimedUnit]) -> None:
    file(hand, *claimed_units)
    answer(hand)
    taken = take_sendable(hand.db, "small-1", "model.large", 9, hand.clock(), PATIENCE)
    assert [unit_id for unit_id, *_ in taken] == [work.unit_id for work in claimed_units]
    claimed = again(hand, *claimed_units)
    assert {work.generation for work in claimed} == {KEY}
    assert file(hand, *claimed) == ANSWER
    assert parked(hand) == []


def test_an_answer_that_came_in_between_is_used(hand: Hand, claimed_units: list[ClaimedUnit]) -> None:
    file(hand, claimed_units[0])
    answer(hand)
    assert file(hand, claimed_units[1]) == ANSWER
    assert units(hand.db, id=claimed_units[1].unit_id)[0].lease_owner == "worker"


def test_call_in_a_workers_hands_is_not_enqueued(
    hand: Hand, claimed_units: list[ClaimedUnit], clock: Clock
) -> None:
    assert purchases.reserve(hand.db, "buyer", [CallClaim(claimed_units[0], request())], clock()) == [None]
    assert file(hand, claimed_units[1]) == Busy()
    clock.advance(LEASE + 1)
    assert file(hand, claimed_units[1]) is None
    assert parked(hand) == [claimed_units[1].unit_id]


def test_waiters_get_a_refusal_and_new_callers_enqueue_again(
    hand: Hand, claimed_units: list[ClaimedUnit], clock: Clock
) -> None:
    file(hand, *claimed_units[:2])
    refusal = BatchRefusal("context_overflow", "too long")
    batches.store_refusals(hand.db, [(KEY, refusal)], clock())
    assert parked(hand) == []
    clock.advance(1)
    first, second = again(hand, *claimed_units[:2])
    assert file(hand, first) == refusal
    assert file(hand, second) == refusal
    hand.failed(first, "context_overflow")
    assert file(hand, claimed_units[2]) is None
    # Who has not heard it yet waits for the new call, too.
    assert file(hand, second) is None
    assert parked(hand) == [second.unit_id, claimed_units[2].unit_id]
    answer(hand)
    assert file(hand, *again(hand, second)) == ANSWER


def test_a_direct_call_waits_for_a_batch_that_is_fetched(
    hand: Hand, claimed_units: list[ClaimedUnit], clock: Clock
) -> None:
    file(hand, claimed_units[0])
    scheduling.claim_feeding(hand.db, "small-1", "feeder", clock(), LEASE)
    assert purchases.reserve(hand.db, "buyer", [CallClaim(claimed_units[1], request())], clock()) == [Busy()]
    assert batch_enqueue.release_unqueued(hand.db, "small-1") == 0


def test_direct_call_does_not_wait_for_a_run_without_feeder(
    hand: Hand, claimed_units: list[ClaimedUnit], clock: Clock
) -> None:
    file(hand, claimed_units[0])
    fed = Hand(hand.db, plan(hand.db, clock, "fed", seed=1), clock)
    scheduling.claim_feeding(hand.db, "fed", "feeder", clock(), LEASE)
    [other, *_] = fed.take(TRAIN, "augment")
    purchases.reserve(hand.db, "worker", [CallClaim(other, request("of the run that is fed"))], clock())
    assert purchases.reserve(hand.db, "buyer", [CallClaim(claimed_units[1], request())], clock()) == [None]
    assert batch_enqueue.release_unqueued(hand.db, "small-1") == 1
    outcomes.record_rejection(
        hand.db, claimed_units[1], Rejection("empty", ""), 0, KEY, purchase(request()), clock()
    )
    assert file(hand, *again(hand, claimed_units[0])) == purchase(request()).completion


def test_wake_leaves_units_that_still_wait(hand: Hand, claimed_units: list[ClaimedUnit]) -> None:
    file(hand, claimed_units[0])
    file(hand, claimed_units[1], words="another")
    assert batch_enqueue.release_unqueued(hand.db, "small-1") == 0
    answer(hand)
    assert parked(hand) == [claimed_units[1].unit_id]
    assert batch_enqueue.release_unqueued(hand.db, "small-1") == 0
