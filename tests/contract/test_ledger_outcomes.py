"""The end of a unit is one transaction: its result, what it paid, and what that sets free."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from models.core.types import Rejection
from storage.database import Database
from storage.ledger import counts, outcomes, queries, retries, scheduling
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from storage.schema import (
    ALREADY_CORRECT,
    DONE,
    FAILED,
    GENERATIONS,
    READY,
    SKIPPED,
    TEST,
    TRAIN,
    UPSTREAM_FAILED,
    WAITING,
)
from tests.support.clock import Clock
from tests.support.small_run import (
    LEASE,
    Hand,
    claim_one,
    claim_units,
    ids,
    plan,
    purchase,
    race,
    request,
    units,
)


@pytest.fixture
def hand(database: Database, clock: Clock) -> Hand:
    return Hand(database, plan(database, clock, train=2, test=1), clock)


def take(hand: Hand, split: str, stage: str) -> ClaimedUnit:
    return hand.take(split, stage)[0]


def test_done_unit_keeps_its_result_and_releases_the_next(hand: Hand, database: Database) -> None:
    claimed = take(hand, TRAIN, "augment")
    bought = purchase(request(), "in place", 1_500)
    ended = UnitOutcome(claimed, {"query": "q"}, generation=bought.request.key, purchase=bought,
                    dependants=[("retrieve", "augmented", 0)])  # fmt: skip
    hand.clock.advance(3)
    assert outcomes.finish_units(database, [ended], hand.clock()) == 1
    [unit] = units(database, id=claimed.unit_id)
    assert (unit.worker, unit.lease_owner) == ("worker", None)
    assert (unit.state, unit.result, unit.reason, unit.finished_at) == (
        DONE,
        {"query": "q"},
        None,
        hand.clock(),
    )
    assert (unit.lease_owner, unit.generation) == (None, bought.request.key)
    fed = [
        (rows.example_id, rows.needs) for rows in units(database, stage="retrieve", state=READY, split=TRAIN)
    ]
    assert fed == [(claimed.example_id, 0)]
    [row] = queries.iter_rows(database, hand.run.id, stages=["augment"])
    assert (row.unit_id, row.model, row.cost_nano_usd, row.request) == (
        claimed.unit_id,
        "model",
        1_500,
        "sort 0",
    )


def test_second_outcome_changes_nothing(hand: Hand, database: Database) -> None:
    claimed = take(hand, TRAIN, "augment")
    assert hand.done(claimed, {"query": "first"}) == 1
    before = units(database)
    assert hand.done(claimed, {"query": "second"}) == 0
    assert hand.failed(claimed, rejection=Rejection("null")) == 0
    assert units(database) == before
    assert counts.rejection_reasons(database, hand.run.id) == {}


def test_racing_outcomes_are_recorded_once(hand: Hand, database: Database) -> None:
    """The lease ran out in mid-call, and each of four workers brings an answer."""
    claimed = take(hand, TRAIN, "augment")
    assert sorted(race(4, lambda number: hand.done(claimed, {"query": str(number)}))) == [0, 0, 0, 1]
    [fed] = units(database, stage="retrieve", example_id=claimed.example_id)
    assert (fed.needs, fed.state) == (0, READY)


def test_unit_with_two_needs_is_ready_after_both(hand: Hand, database: Database) -> None:
    two = {"stage": "answer", "variant": "student/2-shot/retrieval"}
    assert [(unit.needs, unit.state) for unit in units(database, **two)] == [(2, WAITING)]
    hand.done(take(hand, TEST, "retrieve"))
    assert [(unit.needs, unit.state) for unit in units(database, **two)] == [(1, WAITING)]
    hand.finish_train()
    assert scheduling.open_barrier(database, hand.run)
    assert [(unit.needs, unit.state) for unit in units(database, **two)] == [(0, READY)]


def test_right_rationale_skips_rationalization(hand: Hand, database: Database) -> None:
    for stage in ("augment", "retrieve"):
        hand.done(take(hand, TRAIN, stage))
    claimed = take(hand, TRAIN, "rationale")
    hand.correct(claimed)
    skipped = units(database, state=SKIPPED)
    assert [(unit.variant, unit.reason, unit.finished_at) for unit in skipped] == [
        ("pass-1", ALREADY_CORRECT, hand.clock()),
        ("pass-2", ALREADY_CORRECT, hand.clock()),
    ]
    assert {unit.example_id for unit in skipped} == {claimed.example_id}


def test_failed_unit_skips_its_dependants(hand: Hand, database: Database) -> None:
    claimed = take(hand, TRAIN, "augment")
    hand.failed(claimed, "refusal")
    [unit] = units(database, id=claimed.unit_id)
    assert (unit.state, unit.reason, unit.detail, unit.result) == (FAILED, "refusal", "why", None)
    skipped = units(database, state=SKIPPED)
    assert {(unit.example_id, unit.reason) for unit in skipped} == {(claimed.example_id, UPSTREAM_FAILED)}
    assert [unit.stage for unit in skipped] == ["retrieve", "rationale", "rationalize", "rationalize"]
    [row] = queries.failures(database, hand.run.id)
    assert (row.unit_id, row.reason, row.number, row.result) == (claimed.unit_id, "refusal", 0, {})
    assert list(queries.failures(database, hand.run.id, "null")) == []


def test_skipped_unit_counts_its_dependencies(hand: Hand, database: Database) -> None:
    """A retry lets it wait again, and must find its count right."""
    answer = ("answer", "student/2-shot/retrieval", 0)
    retrieve, other = hand.take(TEST, "retrieve")[0], hand.take(TEST, "answer", "student/0-shot")[0]
    hand.failed(retrieve)
    outcomes.finish_units(database, [UnitOutcome(other, {"text": "x"}, dependants=[answer])], hand.clock())
    [unit] = units(database, stage="answer", variant=answer[1])
    assert (unit.needs, unit.state, unit.reason) == (1, SKIPPED, UPSTREAM_FAILED)


def test_ended_units_are_not_skipped(hand: Hand, database: Database) -> None:
    first, _ = hand.take(TRAIN, "augment")
    hand.done(first)
    [retrieve] = hand.take(TRAIN, "retrieve")
    skips = [first.step, ("rationale", "", 0)]
    ended = UnitOutcome(retrieve, reason="html", skips=skips, skip_reason=UPSTREAM_FAILED)
    outcomes.finish_units(database, [ended], hand.clock())
    states = {unit.stage: unit.state for unit in units(database, example_id=first.example_id)}
    assert (states["augment"], states["retrieve"], states["rationale"]) == (DONE, FAILED, SKIPPED)


def test_bad_outcome_takes_back_the_whole_batch(hand: Hand, database: Database) -> None:
    first, second = hand.take(TRAIN, "augment")
    before = units(database)
    with pytest.raises(Exception, match="not JSON serializable"):
        outcomes.finish_units(
            database,
            [
                UnitOutcome(first, {"query": "q"}, purchase=purchase(request())),
                UnitOutcome(second, {"query": object()}),
            ],
            hand.clock(),
        )
    assert units(database) == before
    with database.read() as connection:
        assert connection.execute(select(GENERATIONS.c.key)).all() == []


def test_rejection_is_kept_once_with_its_text(hand: Hand, database: Database) -> None:
    claimed = take(hand, TRAIN, "augment")
    bad = purchase(request(draw=(0, 0)), "<html>")
    for _ in range(2):
        outcomes.record_rejection(
            database, claimed, Rejection("html", "<html>"), 0, bad.request.key, bad, hand.clock()
        )
    assert counts.rejection_reasons(database, hand.run.id) == {"html": 1}
    assert queries.rejected_texts(database, claimed.unit_id) == [("html", "<html>", "<html>")]
    [unit] = units(database, id=claimed.unit_id)
    assert (unit.state, unit.rejections, unit.lease_owner) == (READY, 1, "worker")
    assert counts.spending(database, hand.run.id).calls == 1
    hand.clock.advance(LEASE + 1)
    assert claim_one(database, hand.clock, claimed.unit_id, "other").rejections == 1


def test_rejections_keep_their_order(hand: Hand, database: Database) -> None:
    claimed = take(hand, TRAIN, "augment")
    for attempt, reason in enumerate(["null", "html", "empty"]):
        outcomes.record_rejection(database, claimed, Rejection(reason), attempt, "0" * 64, None, hand.clock())
    assert [reason for reason, _, _ in queries.rejected_texts(database, claimed.unit_id)] == [
        "null",
        "html",
        "empty",
    ]
    assert counts.rejection_reasons(database, hand.run.id) == {"empty": 1, "html": 1, "null": 1}


def test_last_rejection_counts_too(hand: Hand, database: Database) -> None:
    """A retry asks under the next number: under the old one it would read the same answer again."""
    claimed = take(hand, TRAIN, "augment")
    hand.failed(claimed, "null", Rejection("null", "no content"))
    assert retries.retry(database, hand.run) == 1
    again = claim_one(database, hand.clock, claimed.unit_id)
    assert (again.rejections, again.budget_from) == (1, 1)
    hand.failed(again, "null", Rejection("null", "no content"))
    assert counts.rejection_reasons(database, hand.run.id) == {"null": 2}


def test_rejection_that_another_worker_recorded_is_not_recorded_again(hand: Hand, database: Database) -> None:
    claimed = take(hand, TRAIN, "augment")
    outcomes.record_rejection(database, claimed, Rejection("null"), 0, "0" * 64, None, hand.clock())
    hand.failed(claimed, "null", Rejection("null"))
    assert counts.rejection_reasons(database, hand.run.id) == {"null": 1}


def test_batches_that_end_together_do_not_block_each_other(database: Database, clock: Clock) -> None:
    run = plan(database, clock, train=40, test=1)
    claimed_units = claim_units(database, "worker", ids(database, stage="augment"), clock())
    ended = [
        UnitOutcome(claimed, {"query": "q"}, dependants=[("retrieve", "augmented", 0)])
        for claimed in claimed_units
    ]
    news = race(
        4, lambda number: outcomes.finish_units(database, ended[::-1] if number % 2 else ended, clock())
    )
    assert sorted(news) == [0, 0, 0, 40]
    assert len(units(database, run.id, stage="retrieve", split=TRAIN, state=READY)) == 40
