"""Every unit is counted once, in the state that it is in now."""

from __future__ import annotations

from collections import Counter

import pytest

from models.core.types import Rejection
from storage.database import Database
from storage.ledger import claims, counters, counts, outcomes, queries
from storage.ledger.counts import IN_FLIGHT, STATES
from storage.ledger.pace import EndedUnits, ended_since
from storage.ledger.run_progress import read_progress
from storage.schema import DONE, FAILED, READY, SKIPPED, TEST, TRAIN, WAITING
from tests.support.clock import Clock
from tests.support.counted import assert_counts_hold
from tests.support.small_run import LEASE, Hand, ids, plan, purchase, race, request, units


@pytest.fixture
def hand(database: Database, clock: Clock) -> Hand:
    return Hand(database, plan(database, clock), clock)


def total(hand: Hand, **of: str) -> dict[str, int]:
    states = counts.funnel(hand.db, hand.run.id, hand.clock()).total(**of)
    assert {type(number) for number in states.values()} <= {int}
    return dict(states)


def test_new_run_is_ready_or_waits(hand: Hand, database: Database) -> None:
    assert total(hand) == dict(Counter(unit.state for unit in units(database)))
    assert total(hand, split=TRAIN) == {READY: 3, WAITING: 12}
    assert total(hand, split=TEST, stage="retrieve") == {READY: 2}
    assert total(hand, stage="augment") == {READY: 3}


def test_funnel_follows_the_units(hand: Hand, database: Database, clock: Clock) -> None:
    plan(database, clock, "small-2", seed=1)
    first, second, third = hand.take(TRAIN, "augment")
    assert total(hand, stage="augment") == {IN_FLIGHT: 3}
    hand.done(first)
    hand.failed(second)
    assert total(hand, split=TRAIN) == {DONE: 1, FAILED: 1, IN_FLIGHT: 1, READY: 1, SKIPPED: 4, WAITING: 7}
    claims.release_units(database, "worker", [third.unit_id])
    assert total(hand, stage="augment") == {DONE: 1, FAILED: 1, READY: 1}
    assert sum(total(hand).values()) == hand.run.planned
    assert set(total(hand)) <= set(STATES)


def test_unit_is_in_flight_while_its_lease_lives(hand: Hand, clock: Clock) -> None:
    hand.take(TRAIN, "augment")
    clock.advance(LEASE)
    assert total(hand, stage="augment") == {IN_FLIGHT: 3}
    clock.advance(0.1)
    assert total(hand, stage="augment") == {READY: 3}


def test_variants_are_counted_over_their_samples(database: Database, clock: Clock) -> None:
    run = plan(database, clock, grid={"shots": [0], "retrieval": [False, True], "seeds": [1, 2, 3]})
    hand = Hand(database, run, clock)
    hand.done(hand.take(TEST, "answer", "student/0-shot")[0])
    variants = counts.funnel(database, run.id, clock()).variants("answer")
    assert variants == {
        "student/0-shot": {DONE: 1, IN_FLIGHT: 5},
        "student/0-shot/retrieval": {WAITING: 6},
    }


def test_sums_replace_the_differences_and_nothing_else(hand: Hand, database: Database, clock: Clock) -> None:
    """Feeders that fold at the same time, while units end."""
    claimed = hand.take(TRAIN, "augment")

    def act(number: int) -> None:
        if number < 2:
            counters.fold(database, hand.run.id, 1)
        else:
            hand.done(claimed[number - 2], purchase=purchase(request(str(number))))

    before = read_progress(database, hand.run.id)
    race(5, act)
    counters.fold(database, hand.run.id, 1)
    after = read_progress(database, hand.run.id)
    assert after.units[TRAIN, "augment", ""] == {DONE: 3}
    # At most one for each cell and state that has a unit.
    assert after.differences <= before.differences + 1
    assert counts.spending(database, hand.run.id).calls == 3
    assert_counts_hold(database)


def test_only_some_differences_are_replaced_at_a_time(
    hand: Hand, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.finish_train()
    many = read_progress(database, hand.run.id).differences
    cells = len(hand.run.slots[TRAIN]) + len(hand.run.slots[TEST])
    monkeypatch.setattr(counters, "MAX_FOLDED", many // 2)
    counters.fold(database, hand.run.id, 1)
    assert many // 2 < read_progress(database, hand.run.id).differences < many
    assert_counts_hold(database)
    counters.fold(database, hand.run.id, many)
    assert read_progress(database, hand.run.id).differences <= 2 * cells


def test_speed_counts_what_ended_lately(hand: Hand, database: Database, clock: Clock) -> None:
    first, second, _ = hand.take(TRAIN, "augment")
    hand.done(first)
    clock.advance(30)
    hand.failed(second)
    seen = EndedUnits("model.large", "augment", 2, clock() - 30, clock())
    assert ended_since(database, hand.run.id, clock() - 30) == [seen]
    assert ended_since(database, hand.run.id, clock() - 29) == [seen._replace(number=1, first=clock())]
    assert ended_since(database, hand.run.id, clock() + 1) == []


def test_reasons_come_most_frequent_first(hand: Hand, database: Database) -> None:
    claimed_units = hand.take(TRAIN, "augment")
    for claimed, reason in zip(claimed_units, ["refusal", "null", "null"], strict=True):
        outcomes.record_rejection(database, claimed, Rejection("html"), 0, "0" * 64, None, hand.clock())
        hand.failed(claimed, reason)
    assert list(counts.failure_reasons(database, hand.run.id).items()) == [("null", 2), ("refusal", 1)]
    assert counts.rejection_reasons(database, hand.run.id) == {"html": 3}
    assert counts.failure_reasons(database, "other") == {}
    assert counts.rejections_by_stage(database, hand.run.id) == {"augment": {"html": 3}}
    assert counts.rejections_by_stage(database, "other") == {}


def test_purchases_are_counted_by_stage(hand: Hand, database: Database) -> None:
    first, second, _ = hand.take(TRAIN, "augment")
    asked = [request(words) for words in ("one", "two", "three")]
    hand.done(first, purchase=purchase(asked[0], cost=7), generation=asked[0].key)
    hand.done(second, purchase=purchase(asked[1], cost=5), generation=asked[1].key)
    hand.done(hand.take(TEST, "answer", "student/0-shot")[0], purchase=purchase(asked[2]))
    spending = counts.spending_by_stage(database, hand.run.id)
    assert {stage: (each.calls, each.usage.prompt) for stage, each in spending.items()} == {
        "augment": (2, 200), "answer": (1, 100),
    }  # fmt: skip
    assert spending["augment"].cost_nano_usd == 12
    assert counts.latencies(database, hand.run.id)["augment"].tolist() == [0.25, 0.25]
    assert counts.latencies(database, "other") == {}
    assert queries.requests(database, [asked[0].key, "absent"]) == {asked[0].key: asked[0]}
    [unit] = queries.iter_rows(
        database, hand.run.id, stages=["augment"], split=TRAIN, examples=[first.example_id]
    )  # fmt: skip
    assert unit.unit_id == first.unit_id
    examples = queries.example_ids(database, hand.run.id, TRAIN)
    assert (len(examples), examples[0], examples == sorted(examples)) == (3, first.example_id, True)


def test_rows_come_in_order_through_all_pages(database: Database, clock: Clock) -> None:
    plan(database, clock, train=queries.PAGE + 3, test=1)
    result_rows = list(
        queries.iter_rows(
            database, "small-1", stages=["augment", "retrieve"], states=[READY, WAITING], split=TRAIN
        )
    )
    assert [row.unit_id for row in result_rows] == sorted(
        ids(database, stage="augment", split=TRAIN) + ids(database, stage="retrieve", split=TRAIN)
    )
    assert [row.number for row in result_rows[::2]] == list(range(queries.PAGE + 3))
    assert {(row.result == {}, row.model, row.cost_nano_usd) for row in result_rows} == {(True, None, None)}
