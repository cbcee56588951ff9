"""A round waits until every example has ended the one before, and is shown what was right in it."""

from __future__ import annotations

from typing import Any

import pytest

from models.core.pipeline.rounds import SAMPLE, in_round
from storage.database import Database
from storage.ledger import exemplars, retries, runs, scheduling
from storage.ledger.claims import ClaimedUnit
from storage.schema import DONE, FAILED, READY, SKIPPED, TRAIN, WAITING
from tests.support.clock import Clock
from tests.support.small_run import Hand, experiment, plan, units

RIGHT, STAR, WRONG, NO_PASSAGES = range(4)
TWO = {"passes": 1, "rounds": 2}


def text(claimed: ClaimedUnit) -> dict[str, Any]:
    return {"text": f"{claimed.stage} {claimed.variant} {claimed.example.row}", "correct": False}


def right(claimed: ClaimedUnit) -> dict[str, Any]:
    return text(claimed) | {"correct": True}


def begin(database: Database, clock: Clock, **sections: Any) -> Hand:
    """Every example of the train split has its passages, but one."""
    hand = Hand(database, plan(database, clock, train=4, **{"rationale": TWO, **sections}), clock)
    for claimed in hand.take(TRAIN, "augment"):
        hand.done(claimed, {"query": f"query {claimed.example.row}"})
    for claimed in hand.take(TRAIN, "retrieve"):
        if claimed.example.row == NO_PASSAGES:
            hand.failed(claimed)
        else:
            hand.done(claimed, {"passages": []})
    return hand


def first_round(hand: Hand) -> None:
    for claimed in hand.take(TRAIN, "rationale", ""):
        hand.correct(claimed, right(claimed)) if claimed.example.row == RIGHT else hand.done(
            claimed, text(claimed)
        )
    for claimed in hand.take(TRAIN, "rationalize", "pass-1"):
        hand.done(claimed, right(claimed) if claimed.example.row == STAR else text(claimed))


def states(hand: Hand, variant: str) -> list[str]:
    return [unit.state for unit in units(hand.db, hand.run.id, variant=variant, split=TRAIN)]


def test_a_round_opens_when_the_one_before_is_final(database: Database, clock: Clock) -> None:
    hand = begin(database, clock)
    later = [WAITING, WAITING, WAITING, SKIPPED]
    assert states(hand, "round-2") == later
    assert scheduling.open_rounds(database, hand.run) == 0
    claimed_units = hand.take(TRAIN, "rationale", "")
    for claimed in claimed_units[1:]:
        hand.correct(claimed, right(claimed))
    assert scheduling.open_rounds(database, hand.run) == 0
    hand.done(claimed_units[0], text(claimed_units[0]))
    assert scheduling.open_rounds(database, hand.run) == 0
    assert states(hand, "round-2") == later
    [left] = hand.take(TRAIN, "rationalize", "pass-1")
    hand.failed(left)
    assert scheduling.open_rounds(database, hand.run) == 3
    assert states(hand, "round-2") == [READY, READY, READY, SKIPPED]
    assert scheduling.open_rounds(database, hand.run) == 0
    assert not scheduling.open_barrier(database, hand.run)
    hand.finish_train()
    assert states(hand, "round-2/pass-1") == [DONE, DONE, DONE, SKIPPED]
    assert scheduling.open_rounds(database, hand.run) == 0
    assert scheduling.open_barrier(database, hand.run)


def test_round_is_shown_rationales_right_in_earlier_rounds(database: Database, clock: Clock) -> None:
    hand = begin(database, clock)
    first_round(hand)
    accepted = exemplars.accepted_examples(database, hand.run.id, 1)
    ids = [example for example, _ in accepted]
    of_row = {unit.example_id: row for row, unit in enumerate(units(database, stage="augment", split=TRAIN))}
    assert ([of_row[example] for example in ids], {question for _, question in accepted}) == (
        [RIGHT, STAR],
        {"q0", "q1"},
    )
    assert exemplars.accepted_examples(database, hand.run.id, 2) == []
    scheduling.open_rounds(database, hand.run)
    for claimed in hand.take(TRAIN, "rationale", "round-2"):
        hand.correct(claimed, right(claimed)) if claimed.example.row == STAR else hand.done(
            claimed, text(claimed)
        )

    def rationales(source: Any, of_round: int | None = None) -> list[str]:
        return [
            each.rationale
            for each in exemplars.load_exemplars(database, hand.run.id, ids, source, "augmented", of_round)
        ]

    assert rationales("star", 1) == ["rationale  0", "rationalize pass-1 1"]
    # Students see the latest right one; the first pass is that of the first round.
    assert rationales("star") == ["rationale  0", "rationale round-2 1"]
    assert rationales("first_pass") == ["rationale  0", "rationale  1"]
    assert exemplars.eligible_examples(database, hand.run, "first_pass") == {ids[RIGHT]}
    assert exemplars.eligible_examples(database, hand.run, "star") == set(ids)


def test_a_retry_reaches_the_later_round(database: Database, clock: Clock) -> None:
    """A unit without passages goes through both rounds, even if the second is open."""
    hand = begin(database, clock)
    first_round(hand)
    assert scheduling.open_rounds(database, hand.run) == 3
    assert retries.retry(database, hand.run) == 1
    assert states(hand, "round-2") == [READY, READY, READY, WAITING]
    [retrieve] = hand.take(TRAIN, "retrieve")
    hand.done(retrieve, {"passages": []})
    assert scheduling.open_rounds(database, hand.run) == 0
    [again] = hand.take(TRAIN, "rationale", "")
    hand.correct(again, right(again))
    assert scheduling.open_rounds(database, hand.run) == 1
    assert states(hand, "round-2") == [READY] * 4


def test_samples_of_a_later_round_are_voted_on_there(database: Database, clock: Clock) -> None:
    hand = begin(database, clock, rationale={"passes": 0, "rounds": 2, "samples": 2})
    for variant in (SAMPLE, ""):
        for claimed in hand.take(TRAIN, "rationale", variant):
            hand.done(claimed, text(claimed))
    assert scheduling.open_rounds(database, hand.run) == 6
    claimed_units = hand.take(TRAIN, "rationale", in_round(2, SAMPLE))
    assert len(claimed_units) == 6
    hand.failed(claimed_units[0])
    # The vote has one need left, as a unit that waits for its round has, and is not opened with it.
    assert scheduling.open_rounds(database, hand.run) == 0
    assert states(hand, "round-2") == [WAITING, WAITING, WAITING, SKIPPED]
    # A sample is of use until it was voted on; so are the passages of the last row.
    assert retries.retry(database, hand.run, "null") == 2
    assert FAILED not in states(hand, in_round(2, SAMPLE))
    for claimed in claimed_units[1:]:
        hand.done(claimed, text(claimed))
    assert states(hand, "round-2") == [WAITING, READY, READY, WAITING]


@pytest.mark.parametrize("rounds", [1, 2])
def test_one_round_is_the_run_that_it_was(rounds: int) -> None:
    plain = experiment()
    with_rounds = experiment(rationale={"passes": 2, "rounds": rounds})
    same = runs.config_hash(plain, "data") == runs.config_hash(with_rounds, "data")
    assert same == (rounds == 1)
    heeding = experiment(quality={"exact": True})
    assert runs.config_hash(plain, "data") == runs.config_hash(heeding, "data")
