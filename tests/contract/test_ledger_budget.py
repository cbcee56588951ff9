"""A budget is charged before a call and settled after it, whoever calls and whoever dies."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal

import pytest
from sqlalchemy import event, select, text, update

from models.core.types import Completion, Request
from storage.database import Database
from storage.ledger import budget, counts, outcomes, purchases, runs
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from storage.ledger.purchases import Busy, CallClaim, OverBudget, Purchase, ReserveResult
from storage.schema import GENERATIONS, RUNS, TRAIN
from tests.support.clock import Clock
from tests.support.pipeline import wait_until
from tests.support.services import Postgres
from tests.support.small_run import LEASE, Hand, plan, purchase, race, request

CENT = 10**7
TEACHER = {"backend": "openai", "model": "m", "price": {"input": 1.0}}


@pytest.fixture
def hand(database: Database, clock: Clock) -> Hand:
    """Ten cents for everything."""
    return Hand(database, plan(database, clock, train=30, teacher=TEACHER, budget_usd=0.1), clock)


@pytest.fixture
def units(hand: Hand) -> list[ClaimedUnit]:
    return hand.take(TRAIN, "augment")


def call(claimed: ClaimedUnit, number: int, reservation: int = 3 * CENT) -> CallClaim:
    return CallClaim(claimed, request(f"call {number}"), reservation)


def reserve(hand: Hand, calls: list[CallClaim], owner: str = "worker") -> list[ReserveResult]:
    return purchases.reserve(hand.db, owner, calls, hand.clock())


def charged(hand: Hand) -> int:
    with hand.db.read() as connection:
        return connection.execute(select(RUNS.c.charged_nano_usd)).scalar_one()


def pay(hand: Hand, asked: CallClaim, cost: int) -> None:
    bought = Purchase(asked.request, Completion("x", "stop", purchase(asked.request).completion.usage), cost,
                      0.1, asked.reservation)  # fmt: skip
    outcomes.finish_units(hand.db, [UnitOutcome(asked.unit, {"query": "q"}, purchase=bought)], hand.clock())


def test_calls_are_allowed_while_their_reservations_fit(hand: Hand, units: list[ClaimedUnit]) -> None:
    calls = [call(claimed, number) for number, claimed in enumerate(units[:5])]
    assert reserve(hand, calls) == [None, None, None, Busy(), Busy()]
    assert charged(hand) == 9 * CENT


def test_call_beyond_one_budget_is_free_for_another_run(
    hand: Hand, units: list[ClaimedUnit], clock: Clock
) -> None:
    assert reserve(hand, [call(units[0], 0, 11 * CENT)]) == [OverBudget()]
    other = Hand(hand.db, plan(hand.db, clock, "rich", teacher=TEACHER, seed=1), clock)
    [claimed, *_] = other.take(TRAIN, "augment")
    assert reserve(other, [CallClaim(claimed, request("call 0"))], "other") == [None]


def test_price_replaces_the_reservation(hand: Hand, units: list[ClaimedUnit]) -> None:
    calls = [call(claimed, number) for number, claimed in enumerate(units[:3])]
    reserve(hand, calls)
    for each in calls:
        pay(hand, each, 2 * CENT)
    assert charged(hand) == 6 * CENT == counts.spending(hand.db, hand.run.id).cost_nano_usd
    assert reserve(hand, [call(units[3], 3)]) == [None]
    assert reserve(hand, [call(units[4], 4)]) == [Busy()]
    assert reserve(hand, [call(units[4], 4, 5 * CENT)]) == [OverBudget()]


def test_call_without_answer_costs_nothing(hand: Hand, units: list[ClaimedUnit]) -> None:
    calls = [call(claimed, number) for number, claimed in enumerate(units[:3])]
    reserve(hand, calls)
    for each in calls:
        purchases.abandon(hand.db, "worker", each.request.key)
    assert charged(hand) == 0


def test_a_stored_answer_and_a_busy_one_are_free(hand: Hand, units: list[ClaimedUnit]) -> None:
    asked = call(units[0], 0)
    reserve(hand, [asked])
    assert reserve(hand, [call(units[1], 0)]) == [Busy()]
    pay(hand, asked, CENT)
    assert isinstance(reserve(hand, [call(units[1], 0)])[0], Completion)
    assert charged(hand) == CENT


def test_reservation_of_a_dead_worker_is_returned(hand: Hand, units: list[ClaimedUnit]) -> None:
    reserve(hand, [call(claimed, number) for number, claimed in enumerate(units[:3])], "dead")
    assert reserve(hand, [call(units[3], 3)]) == [Busy()]
    hand.clock.advance(LEASE + 1)
    assert reserve(hand, [call(units[3], 3)]) == [None]
    assert charged(hand) == 3 * CENT


def test_a_call_taken_over_from_the_dead_is_charged_once(hand: Hand, units: list[ClaimedUnit]) -> None:
    reserve(hand, [call(units[0], 0)], "dead")
    hand.clock.advance(LEASE + 1)
    again = call(units[1], 0)
    assert reserve(hand, [again]) == [None]
    assert reserve(hand, [call(claimed, 1 + number) for number, claimed in enumerate(units[2:4])]) == [
        None,
        None,
    ]
    pay(hand, again, 3 * CENT)
    assert charged(hand) == 9 * CENT


def test_racing_workers_never_pass_the_budget(hand: Hand, units: list[ClaimedUnit]) -> None:
    results = race(8, lambda number: reserve(hand, [call(units[number], number)], f"w{number}"))
    assert sorted(map(str, results)) == ["[Busy()]"] * 5 + ["[None]"] * 3
    assert charged(hand) == 9 * CENT


def test_a_raised_budget_allows_more(hand: Hand, units: list[ClaimedUnit]) -> None:
    reserve(hand, [call(claimed, number) for number, claimed in enumerate(units[:3])])
    richer = hand.run.experiment.model_copy(update={"budget_usd": 0.2})
    assert runs.update_mutable(hand.db, hand.run, richer).experiment.budget_usd == 0.2
    assert reserve(hand, [call(units[3], 3)]) == [None]


def test_a_run_without_a_budget_is_not_charged(database: Database, clock: Clock) -> None:
    hand = Hand(database, plan(database, clock, teacher=TEACHER), clock)
    [claimed, *_] = hand.take(TRAIN, "augment")
    asked = CallClaim(claimed, request("dear"))
    assert reserve(hand, [asked]) == [None]
    pay(hand, asked, 10**12)
    assert charged(hand) == 0
    assert counts.spending(database, hand.run.id).dollars == 1000


def test_money_is_whole_billionths() -> None:
    assert runs.nano_usd(0.1) == CENT * 10
    assert runs.nano_usd(1234567.000000001) == int(Decimal("1234567.000000001") * 10**9)
    assert runs.nano_usd(None) is None


def test_mutable_keys_keep_the_run(hand: Hand, clock: Clock) -> None:
    """More money, other limits: the same run. Another price, another model: another run."""
    run = hand.run.experiment
    steered = run.model_copy(
        update={
            "budget_usd": 5.0,
            "teacher": run.teacher.model_copy(update={"rpm": 9, "tpm": 9, "timeout": 9.0}),
        }
    )
    dearer = run.model_copy(update={"teacher": run.teacher.model_copy(update={"model": "other"})})
    data = runs.dataset_hash({"train": []})
    assert runs.config_hash(run, data) == runs.config_hash(steered, data)
    assert runs.config_hash(run, data) != runs.config_hash(dearer, data)


def test_one_question_in_a_batch_is_asked_once(hand: Hand, units: list[ClaimedUnit]) -> None:
    asked: Request = request("the same")
    reserved = reserve(hand, [CallClaim(claimed, asked, CENT) for claimed in units[:3]])
    assert reserved == [None, Busy(), Busy()]
    assert charged(hand) == CENT


def test_calls_without_an_answer_stay_charged(hand: Hand, units: list[ClaimedUnit]) -> None:
    calls = [call(claimed, number) for number, claimed in enumerate(units[:3])]
    reserve(hand, calls)
    purchases.abandon(hand.db, "worker", calls[0].request.key, 3 * CENT, hand.run.id)
    purchases.abandon(hand.db, "worker", calls[1].request.key, 2 * CENT, hand.run.id)
    pay(hand, calls[2], CENT)
    assert charged(hand) == 6 * CENT
    assert budget.read_budget(hand.db, hand.run.id).unanswered == 5 * CENT
    assert counts.spending(hand.db, hand.run.id).cost_nano_usd == CENT
    # Counted again, the budget still knows what may have been spent.
    assert reserve(hand, [call(units[3], 3, 5 * CENT)]) == [OverBudget()]
    assert charged(hand) == 6 * CENT
    assert reserve(hand, [call(units[3], 3, 4 * CENT)]) == [None]


def test_lost_call_whose_reservation_another_took_over_is_charged(
    hand: Hand, units: list[ClaimedUnit]
) -> None:
    purchases.abandon(hand.db, "me", call(units[0], 0).request.key, 3 * CENT, hand.run.id)
    assert budget.read_budget(hand.db, hand.run.id).unanswered == charged(hand) == 3 * CENT


def test_budget_that_is_set_later_counts_what_was_spent_before(database: Database, clock: Clock) -> None:
    hand = Hand(database, plan(database, clock, train=30, teacher=TEACHER), clock)
    claimed = hand.take(TRAIN, "augment")
    asked = call(claimed[0], 0, 0)
    reserve(hand, [asked])
    pay(hand, asked, 8 * CENT)
    lost = call(claimed[1], 1, 0)
    reserve(hand, [lost])
    purchases.abandon(hand.db, "me", lost.request.key, CENT, hand.run.id)
    limited = hand.run.experiment.model_copy(update={"budget_usd": 0.1})
    runs.update_mutable(hand.db, runs.load_run(hand.db, hand.run.id), limited)
    assert charged(hand) == 9 * CENT
    assert reserve(hand, [call(claimed[2], 2, 2 * CENT)]) == [OverBudget()]


def test_what_was_bought_is_known_from_its_sums(hand: Hand, units: list[ClaimedUnit]) -> None:
    """A refusal reads no call that is bought: there may be a million."""
    asked = call(units[0], 0)
    reserve(hand, [asked])
    pay(hand, asked, 8 * CENT)
    change_price(hand, 0)
    assert reserve(hand, [call(units[1], 1)]) == [OverBudget()]
    assert charged(hand) == 8 * CENT
    change_price(hand, 8 * CENT)


def change_price(hand: Hand, cost: int) -> None:
    with hand.db.write() as connection:
        connection.execute(update(GENERATIONS).where(GENERATIONS.c.done).values(cost_nano_usd=cost))


def test_run_is_locked_by_the_last_statement_of_a_commit(hand: Hand, units: list[ClaimedUnit]) -> None:
    """All workers of a run with a budget wait for its row."""
    asked = call(units[0], 0)
    reserve(hand, [asked])
    statements: list[str] = []
    event.listen(hand.db.engine, "before_cursor_execute", lambda *sent: statements.append(sent[2]))
    pay(hand, asked, CENT)
    written = [text for text in statements if text.startswith(("UPDATE", "INSERT", "DELETE"))]
    assert any(text.startswith("UPDATE unit ") for text in written)
    assert [text.startswith("UPDATE run ") for text in written] == [False] * (len(written) - 1) + [True]


def test_price_that_is_settled_while_another_counts_again_is_not_lost(
    postgres: Postgres, clock: Clock
) -> None:
    db = Database(postgres.empty_ledger(), pool_size=8)
    with closing(db), ThreadPoolExecutor(1) as second:
        hand = Hand(db, plan(db, clock, train=30, teacher=TEACHER, budget_usd=0.1), clock)
        units = hand.take(TRAIN, "augment")
        asked = call(units[0], 0)
        reserve(hand, [asked])
        bought = Purchase(asked.request, purchase(asked.request).completion, 8 * CENT, 0.1, 3 * CENT)
        with db.write() as connection:
            budget.settle(connection, purchases.record_purchase(connection, [(units[0], bought)], clock()))
            refused = second.submit(reserve, hand, [call(units[1], 1, 8 * CENT)])
            wait_until(lambda: refused.done() or waits_for_a_lock(db), "the second waits")
        assert refused.result() == [OverBudget()]
        assert charged(hand) == 8 * CENT


def waits_for_a_lock(db: Database) -> bool:
    with db.read() as connection:
        return bool(connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one())
