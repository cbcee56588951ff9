"""Units that failed and whose rows went on: their counts, and what a retry opens again."""

from __future__ import annotations

from typing import Any

import pytest

from storage.database import Database
from storage.ledger import counts, queries, retries, scheduling
from storage.ledger.stand_ins import stand_in_reasons
from storage.schema import DONE, OPEN, READY, TEST, TRAIN, WAITING
from tests.support.clock import Clock
from tests.support.counted import assert_counts_hold
from tests.support.small_run import Hand, claim_one, plan, units

RAW = {"augmentation": "", "query": "sort 0"}


@pytest.fixture
def hand(database: Database, clock: Clock) -> Hand:
    return Hand(database, plan(database, clock), clock)


def of_example(database: Database, example_id: int) -> dict[tuple[str, str, int], Any]:
    found = units(database, example_id=example_id)
    return {(unit.stage, unit.variant, unit.sample): unit for unit in found}


def states(database: Database, example_id: int) -> dict[tuple[str, str, int], tuple[str, int]]:
    return {step: (unit.state, unit.needs) for step, unit in of_example(database, example_id).items()}


def end_with_stand_in(hand: Hand, split: str = TRAIN, reason: str = "refusal") -> int:
    """End the augmentation of the first row with a stand-in, and that of the others well."""
    first, *others = hand.take(split, "augment")
    hand.done(first, RAW, reason=reason, detail="no")
    for claimed in others:
        hand.done(claimed)
    return first.example_id


def test_row_goes_on_and_its_reason_is_counted(hand: Hand, database: Database) -> None:
    example = end_with_stand_in(hand)
    assert of_example(database, example)["retrieve", "augmented", 0].state == READY
    assert stand_in_reasons(database, hand.run.id) == {"augment": {"refusal": 1}}
    assert counts.failure_reasons(database, hand.run.id) == {}
    [failure] = queries.failures(database, hand.run.id)
    assert (failure.example_id, failure.state, failure.reason) == (example, DONE, "refusal")
    assert not list(queries.failures(database, hand.run.id, "null"))
    assert not list(queries.failures(database, hand.run.id, stage="retrieve"))


def test_retry_opens_it_and_all_that_rests_on_it(hand: Hand, database: Database) -> None:
    planned = {unit.example_id: states(database, unit.example_id) for unit in units(database)}
    example = end_with_stand_in(hand)
    hand.finish_train()
    others = [unit for unit in units(database) if unit.example_id != example]
    assert retries.retry(database, hand.run, "null") == 0
    assert retries.retry(database, hand.run, stage="rationale") == 0
    assert retries.retry(database, hand.run) == 1
    assert states(database, example) == planned[example]
    assert not any(unit.result or unit.reason for unit in of_example(database, example).values())
    assert [unit for unit in units(database) if unit.example_id != example] == others
    assert_counts_hold(database)
    assert retries.retry(database, hand.run) == 0


def test_second_failure_leaves_the_row_as_it_was(hand: Hand, database: Database) -> None:
    end_with_stand_in(hand)
    hand.finish_train()
    retries.retry(database, hand.run)
    end_with_stand_in(hand)
    hand.finish_train()
    assert not [unit for unit in units(database, split=TRAIN) if unit.state in OPEN]
    assert stand_in_reasons(database, hand.run.id) == {"augment": {"refusal": 1}}


def test_unit_that_another_failure_holds_back_waits_for_both(hand: Hand, database: Database) -> None:
    """The search failed after the augmentation had: one retry opens the row once."""
    example = end_with_stand_in(hand)
    search = of_example(database, example)["retrieve", "augmented", 0]
    hand.failed(claim_one(database, hand.clock, search.id))
    assert retries.retry(database, hand.run) == 1
    after = states(database, example)
    assert after["augment", "", 0] == (READY, 0)
    assert after["retrieve", "augmented", 0] == (WAITING, 1)
    assert after["rationale", "", 0] == (WAITING, 1)


@pytest.mark.parametrize("barrier", [False, True])
def test_answers_of_an_augmented_test_row_wait_again(database: Database, clock: Clock, barrier: bool) -> None:
    grid = {"shots": [0, 2], "retrieval": [False, True], "augment_test": [True]}
    hand = Hand(database, plan(database, clock, grid=grid), clock)
    example = end_with_stand_in(hand, TEST)
    if barrier:
        hand.finish_train()
        assert scheduling.open_barrier(database, hand.run)
    assert retries.retry(database, hand.run) == 1
    after = states(database, example)
    assert after["answer", "student/0-shot/augmented", 0] == (WAITING, 1)
    assert after["answer", "student/2-shot/augmented", 0] == (WAITING, 1 + (not barrier))
    assert after["answer", "student/2-shot/retrieval/augmented", 0] == (WAITING, 1 + (not barrier))
    assert after["judge", "student/0-shot/augmented", 0] == (WAITING, 1)
