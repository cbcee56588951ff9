"""A model call is bought once, whoever asks, in whatever run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import insert, text

from models.core.types import Completion, Usage
from storage.database import Database
from storage.ledger import claims, counts, leases, outcomes, purchases, runs
from storage.ledger.claims import ClaimedUnit
from storage.ledger.counts import Spending
from storage.ledger.leases import RESERVING_SECONDS
from storage.ledger.outcomes import UnitOutcome
from storage.ledger.purchases import Busy, CallClaim, Purchase, ReserveResult
from storage.schema import GENERATIONS, TRAIN
from tests.support.clock import Clock
from tests.support.pipeline import wait_until
from tests.support.small_run import LEASE, Hand, claim_one, ids, plan, purchase, race, request


@pytest.fixture
def hand(database: Database, clock: Clock) -> Hand:
    return Hand(database, plan(database, clock), clock)


@pytest.fixture
def units(hand: Hand) -> list[ClaimedUnit]:
    """Two units, each in the hands of another worker."""
    first, second, *_ = ids(hand.db, stage="augment")
    return [claim_one(hand.db, hand.clock, first, "me"), claim_one(hand.db, hand.clock, second, "other")]


def reserve(hand: Hand, owner: str, unit: ClaimedUnit) -> ReserveResult:
    [decision] = purchases.reserve(hand.db, owner, [CallClaim(unit, request())], hand.clock())
    return decision


def commit(hand: Hand, unit: ClaimedUnit, bought: Purchase) -> None:
    outcomes.finish_units(hand.db, [UnitOutcome(unit, {"query": "q"}, purchase=bought)], hand.clock())


def test_bought_answer_is_read_by_later_callers(hand: Hand, units: list[ClaimedUnit]) -> None:
    assert reserve(hand, "me", units[0]) is None
    bought = Purchase(request(), Completion(None, "content_filter", Usage(9, 4, 2), "no"), 77, 0.5)
    commit(hand, units[0], bought)
    assert reserve(hand, "other", units[1]) == bought.completion
    assert reserve(hand, "me", units[0]) == bought.completion


def test_reasoning_and_estimates_are_stored_beside_the_answer(hand: Hand, units: list[ClaimedUnit]) -> None:
    completion = Completion("f(x)", "stop", Usage(9, 4, 7, 5, estimated=True), None, "hm")
    commit(hand, units[0], Purchase(request(), completion, 77, 0.5))
    assert reserve(hand, "me", units[1]) == completion
    assert counts.spending(hand.db, hand.run.id).estimated == 1


def test_thoughts_in_an_answer_of_an_older_release_are_read_apart(
    hand: Hand, units: list[ClaimedUnit]
) -> None:
    commit(hand, units[0], Purchase(request(), Completion("<think>hm</think>f(x)", "stop", Usage()), 0, 0.1))
    reserved = reserve(hand, "me", units[1])
    assert isinstance(reserved, Completion)
    assert (reserved.text, reserved.reasoning) == ("f(x)", "hm")


def test_answer_is_stored_as_it_came(hand: Hand, units: list[ClaimedUnit]) -> None:
    text = "tab\t 'quote' \\ é 😀 \u2028\n"
    bought = Purchase(
        request(), Completion(text, "a reason of more than thirty-two characters", Usage()), 0, 0.1
    )
    commit(hand, units[0], bought)
    reserved = reserve(hand, "me", units[1])
    assert isinstance(reserved, Completion)
    assert (reserved.text, reserved.finish_reason) == (text, "a reason of more than thirty-two")


def test_another_request_is_another_purchase(hand: Hand, units: list[ClaimedUnit]) -> None:
    commit(hand, units[0], purchase(request()))
    for other in (request("another"), request(draw=(1, 0)), request(draw=(0, 1))):
        assert purchases.reserve(hand.db, "me", [CallClaim(units[1], other)], hand.clock()) == [None]


def test_second_caller_waits_for_the_first(hand: Hand, units: list[ClaimedUnit]) -> None:
    assert reserve(hand, "me", units[0]) is None
    assert reserve(hand, "other", units[1]) == Busy()
    hand.clock.advance(LEASE / 2)
    assert reserve(hand, "other", units[1]) == Busy()
    assert reserve(hand, "me", units[0]) == Busy()


def test_racing_workers_buy_once(hand: Hand, units: list[ClaimedUnit]) -> None:
    results = race(8, lambda number: reserve(hand, f"w{number}", units[number % 2]))
    assert sorted(map(str, results)) == ["Busy()"] * 7 + ["None"]


def test_answer_of_an_earlier_run_is_free(hand: Hand, units: list[ClaimedUnit], clock: Clock) -> None:
    commit(hand, units[0], purchase(request()))
    later = Hand(hand.db, plan(hand.db, clock, "small-2", seed=1), clock)
    unit = later.take(TRAIN, "augment")[0]
    assert reserve(later, "me", unit) == purchase(request()).completion
    outcomes.finish_units(hand.db, [UnitOutcome(unit, {"query": "q"}, generation=request().key)], clock())
    assert counts.spending(hand.db, "small-2") == Spending(0, Usage(), 0, 0.0)
    assert counts.spending(hand.db, "small-1").calls == 1


def test_abandoned_call_is_free_at_once(hand: Hand, units: list[ClaimedUnit]) -> None:
    assert reserve(hand, "me", units[0]) is None
    purchases.abandon(hand.db, "other", request().key)
    purchases.abandon(hand.db, "me", request("another").key)
    assert reserve(hand, "other", units[1]) == Busy()
    purchases.abandon(hand.db, "me", request().key)
    assert reserve(hand, "other", units[1]) is None


def test_bought_answer_cannot_be_abandoned(hand: Hand, units: list[ClaimedUnit]) -> None:
    assert reserve(hand, "me", units[0]) is None
    commit(hand, units[0], purchase(request()))
    purchases.abandon(hand.db, "me", request().key)
    assert reserve(hand, "other", units[1]) == purchase(request()).completion


def test_expired_call_is_taken_over(hand: Hand, units: list[ClaimedUnit]) -> None:
    assert reserve(hand, "me", units[0]) is None
    hand.clock.advance(LEASE)
    leases.extend_lease(hand.db, "other", hand.clock(), LEASE)
    assert reserve(hand, "other", units[1]) == Busy()
    hand.clock.advance(0.1)
    assert reserve(hand, "other", units[1]) is None
    purchases.abandon(hand.db, "me", request().key)
    hand.clock.advance(LEASE - 0.1)
    assert reserve(hand, "me", units[0]) == Busy()


def test_lost_call_may_not_be_made(hand: Hand, units: list[ClaimedUnit], clock: Clock) -> None:
    key, run = request().key, units[0].run_id
    reserve(hand, "me", units[0])
    assert purchases.may_be_bought(hand.db, "me", key, run)
    clock.advance(LEASE + 1)
    assert purchases.may_be_bought(hand.db, "me", key, run)  # nobody else wanted it
    assert reserve(hand, "other", units[1]) is None
    assert not purchases.may_be_bought(hand.db, "me", key, run)
    assert purchases.may_be_bought(hand.db, "other", key, run)
    commit(hand, units[1], purchase(request()))
    assert not purchases.may_be_bought(hand.db, "other", key, run)


def test_a_call_of_a_run_that_stops_is_not_made(hand: Hand, units: list[ClaimedUnit]) -> None:
    reserve(hand, "me", units[0])
    runs.stop_run(hand.db, units[0].run_id, "enough", paused=True)
    assert not purchases.may_be_bought(hand.db, "me", request().key, units[0].run_id)


def test_expired_call_is_taken_over_once(hand: Hand, units: list[ClaimedUnit]) -> None:
    assert reserve(hand, "me", units[0]) is None
    hand.clock.advance(LEASE + 1)
    results = race(8, lambda number: reserve(hand, f"w{number}", units[1]))
    assert sorted(map(str, results)) == ["Busy()"] * 7 + ["None"]


def test_heartbeat_keeps_a_call(hand: Hand, units: list[ClaimedUnit]) -> None:
    assert reserve(hand, "me", units[0]) is None
    for _ in range(4):
        hand.clock.advance(LEASE * 0.75)
        leases.extend_lease(hand.db, "me", hand.clock(), LEASE)
    assert reserve(hand, "other", units[1]) == Busy()


@pytest.mark.parametrize("end", ["failed", "released", "lost", "taken over"])
def test_a_live_worker_keeps_no_call_of_a_unit_that_it_does_not_hold(
    hand: Hand, units: list[ClaimedUnit], end: str
) -> None:
    """Nobody may wait for this answer: others must not wait for ever."""
    unit = units[0]
    assert reserve(hand, "me", unit) is None
    if end == "failed":
        hand.failed(unit, "internal_error")
    elif end == "lost":
        claims.release_lost(hand.db, "me", [unit.unit_id])
    else:
        claims.release_units(hand.db, "me", [unit.unit_id])
    if end == "taken over":
        claim_one(hand.db, hand.clock, unit.unit_id, "other")
    hand.clock.advance(RESERVING_SECONDS)
    assert reserve(hand, "other", units[1]) == Busy()
    hand.clock.advance(0.1)
    assert reserve(hand, "other", units[1]) is None


def test_slow_statement_does_not_take_a_call_whose_claim_it_cannot_see(
    database: Database, clock: Clock
) -> None:
    """It began before the unit of the call was claimed, and waited for another call meanwhile."""
    if database.is_sqlite:
        return  # one statement at a time writes, and sees all that was written before
    plan(database, clock)
    first, second, third = ids(database, stage="augment")
    slow, blocking = (claim_one(database, clock, *each) for each in ((first, "slow"), (second, "third")))
    # Calls are reserved in the order of their keys: the statement waits at the first.
    words = sorted("ab", key=lambda each: request(each).key)
    both = [CallClaim(slow, request(each)) for each in words]
    with ThreadPoolExecutor(1) as pool:
        with database.write() as connection:
            row = purchases._reservation_row("third", CallClaim(blocking, both[0].request), clock())
            connection.execute(insert(GENERATIONS).values(row))
            waiting = pool.submit(purchases.reserve, database, "slow", both, clock())
            wait_until(lambda: waits_for_a_lock(database), "the statement waits")
            fast = claim_one(database, clock, third, "fast")
            assert purchases.reserve(database, "fast", [CallClaim(fast, both[1].request)], clock()) == [None]
        assert waiting.result() == [Busy(), Busy()]


def waits_for_a_lock(db: Database) -> bool:
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with db.read() as connection:
        return bool(connection.execute(query).scalar())


def test_first_answer_stays(hand: Hand, units: list[ClaimedUnit]) -> None:
    """The lease ran out in mid-call and two were bought: what rests on the first remains true."""
    commit(hand, units[0], purchase(request(), "first", 10))
    commit(hand, units[1], purchase(request(), "second", 20))
    assert reserve(hand, "me", units[0]) == purchase(request(), "first").completion
    assert counts.spending(hand.db, "small-1").cost_nano_usd == 10


def test_racing_answers_leave_one(hand: Hand, units: list[ClaimedUnit]) -> None:
    race(4, lambda number: commit(hand, units[number % 2], purchase(request(), f"answer {number}")))
    reserved = reserve(hand, "me", units[0])
    assert isinstance(reserved, Completion)
    assert reserved.text in {f"answer {number}" for number in range(4)}
    assert counts.spending(hand.db, "small-1").calls == 1


def test_spending_is_the_sum_of_what_was_bought(hand: Hand, units: list[ClaimedUnit]) -> None:
    calls = [
        replace(purchase(request(f"{number}"), cost=10**12 + number), seconds=0.25) for number in range(3)
    ]
    for call in calls:
        commit(hand, units[0], call)
    assert purchases.reserve(hand.db, "me", [CallClaim(units[1], request("3"))], hand.clock()) == [None]
    spent = counts.spending(hand.db, "small-1")
    assert spent == Spending(3, Usage(300, 120, 60), 3 * 10**12 + 3, 0.75)
    assert spent.dollars == pytest.approx(3000.000000003, abs=1e-12)
