"""A vote waits until all samples have ended, goes on without those that failed, and can be retried."""

from __future__ import annotations

import pytest

from storage.database import Database
from storage.ledger import claims, counts, exemplars, retries, runs
from storage.ledger.claims import MAX_CLAIMS, ClaimedUnit
from storage.schema import DONE, FAILED, NO_SAMPLES, READY, SKIPPED, TRAIN, UPSTREAM_FAILED, WAITING
from tests.support.clock import Clock
from tests.support.small_run import LEASE, Hand, claim_units, plan, race, units

SAMPLES = 3


@pytest.fixture
def hand(database: Database, clock: Clock) -> Hand:
    """Every example of the train split has its samples ready."""
    opened = Hand(database, plan(database, clock, rationale={"passes": 1, "samples": SAMPLES}), clock)
    for stage in ("augment", "retrieve"):
        for claimed in opened.take(TRAIN, stage):
            opened.done(claimed)
    return opened


def drawn(hand: Hand, row: int = 0) -> list[ClaimedUnit]:
    """The samples of one example; the others are given back."""
    claimed_units = hand.take(TRAIN, "rationale", "sample")
    claims.release_units(
        hand.db, "worker", [claimed.unit_id for claimed in claimed_units if claimed.example.row != row]
    )
    return [claimed for claimed in claimed_units if claimed.example.row == row]


def vote(hand: Hand, claimed: ClaimedUnit) -> tuple[str, int, str | None]:
    [unit] = units(hand.db, hand.run.id, stage="rationale", variant="", example_id=claimed.example_id)
    return (unit.state, unit.needs, unit.reason)


def passes(hand: Hand, claimed: ClaimedUnit) -> set[tuple[str, str | None]]:
    rows = units(hand.db, hand.run.id, stage="rationalize", example_id=claimed.example_id)
    return {(unit.state, unit.reason) for unit in rows}


def test_every_sample_and_the_vote_are_planned(hand: Hand, database: Database) -> None:
    planned = units(database, stage="rationale", example_id=units(database)[0].example_id)
    assert [(unit.variant, unit.sample, unit.queue, unit.needs) for unit in planned] == [
        *(("sample", number, "model.large", 0) for number in range(SAMPLES)),
        ("", 0, "judge", SAMPLES),
    ]
    total = counts.funnel(database, hand.run.id, hand.clock()).total()
    assert total.total() == hand.run.planned == 3 * (4 + SAMPLES) + 2 * 13


def test_vote_waits_for_all_and_finds_them_in_order(hand: Hand, database: Database) -> None:
    first, second, third = drawn(hand)
    for left, claimed in ((2, third), (1, first)):
        hand.done(claimed, {"text": str(claimed.sample)}, generation=f"{claimed.sample}" * 64)
        assert vote(hand, claimed) == (WAITING, left, None)
    hand.failed(second)
    assert vote(hand, second) == (READY, 0, None)
    assert passes(hand, second) == {(WAITING, None)}
    [claimed] = hand.take(TRAIN, "rationale", "")
    samples = exemplars.answered_samples(database, claimed)
    assert [(sample.result, sample.generation) for sample in samples] == [
        ({"text": "0"}, "0" * 64),
        ({"text": "2"}, "2" * 64),
    ]


def test_samples_that_end_together_are_counted_once_each(hand: Hand) -> None:
    claimed_units = drawn(hand)
    race(
        SAMPLES,
        lambda number: hand.failed(claimed_units[number]) if number else hand.done(claimed_units[number]),
    )
    assert vote(hand, claimed_units[0]) == (READY, 0, None)


def test_poison_sample_does_not_hold_back_the_vote(hand: Hand, database: Database) -> None:
    doomed, *others = drawn(hand)
    for number in range(MAX_CLAIMS):
        hand.clock.advance(LEASE + 1)
        claim_units(database, f"doomed {number}", [doomed.unit_id], hand.clock())
    assert units(database, id=doomed.unit_id)[0].reason == "crash"
    for claimed in others:
        hand.done(claimed)
    assert vote(hand, doomed) == (READY, 0, None)


def without_samples(hand: Hand) -> list[ClaimedUnit]:
    """Samples that all failed, each for a reason of its own, and the vote on them."""
    claimed_units = drawn(hand)
    for claimed, reason in zip(claimed_units, ("null", "refusal", "refusal"), strict=True):
        hand.failed(claimed, reason)
    [claimed] = hand.take(TRAIN, "rationale", "")
    assert exemplars.answered_samples(hand.db, claimed) == []
    hand.failed(claimed, NO_SAMPLES)
    assert vote(hand, claimed) == (FAILED, 0, NO_SAMPLES)
    assert passes(hand, claimed) == {(SKIPPED, UPSTREAM_FAILED)}
    return claimed_units


@pytest.mark.parametrize(("reason", "sent"), [(None, 3), ("null", 1), ("refusal", 2), (NO_SAMPLES, 3)])
def test_vote_without_samples_is_retried_by_way_of_them(
    hand: Hand, database: Database, reason: str | None, sent: int
) -> None:
    claimed_units = without_samples(hand)
    assert retries.retry(database, hand.run, reason) == sent
    assert vote(hand, claimed_units[0]) == (WAITING, sent, None)
    assert passes(hand, claimed_units[0]) == {(WAITING, None)}
    again = [claimed for claimed in drawn(hand) if claimed.unit_id in {old.unit_id for old in claimed_units}]
    assert len(again) == sent
    for claimed in again:
        assert vote(hand, claimed)[0] == WAITING
        hand.done(claimed)
    assert vote(hand, claimed_units[0]) == (READY, 0, None)


def test_sample_is_retried_while_the_vote_waits(hand: Hand, database: Database) -> None:
    first, second, third = drawn(hand)
    hand.failed(first)
    assert vote(hand, first) == (WAITING, 2, None)
    assert retries.retry(database, hand.run) == 1
    assert vote(hand, first) == (WAITING, 3, None)
    for claimed in (second, third):
        hand.done(claimed)
    [again] = [
        claimed for claimed in hand.take(TRAIN, "rationale", "sample") if claimed.unit_id == first.unit_id
    ]
    hand.done(again)
    assert vote(hand, first) == (READY, 0, None)


def test_sample_is_not_retried_after_the_vote(hand: Hand, database: Database) -> None:
    first, *others = drawn(hand)
    hand.failed(first)
    for claimed in others:
        hand.done(claimed)
    assert retries.retry(database, hand.run) == 0
    [claimed] = hand.take(TRAIN, "rationale", "")
    hand.done(claimed)
    before = units(database)
    assert retries.retry(database, hand.run) == retries.retry(database, hand.run, "null") == 0
    assert units(database) == before
    assert runs.run_state(database, hand.run.id) == ("running", "")


def test_right_rationales_are_counted_without_samples(hand: Hand, database: Database) -> None:
    for claimed in drawn(hand):
        assert exemplars.count_right_before(database, claimed) == 0
        hand.done(claimed, {"text": "sample", "correct": True})
    [claimed] = hand.take(TRAIN, "rationale", "")
    assert exemplars.count_right_before(database, claimed) == 0
    hand.done(claimed, {"text": "elected", "correct": True})
    [claimed] = hand.take(TRAIN, "rationalize")
    assert exemplars.count_right_before(database, claimed) == 1
    hand.done(claimed, {"text": "its own does not count", "correct": True})
    assert exemplars.count_right_before(database, claimed) == 1


def test_students_see_only_the_elected_rationale(hand: Hand, database: Database) -> None:
    """A right sample that lost its vote makes no exemplar."""
    claimed_units = drawn(hand)
    for claimed in claimed_units:
        hand.done(claimed, {"text": f"sample {claimed.sample}", "correct": claimed.sample == 0})
    [claimed] = hand.take(TRAIN, "rationale", "")
    hand.done(claimed, {"text": "elected", "correct": False})
    assert exemplars.eligible_examples(database, hand.run, "first_pass") == frozenset()
    assert exemplars.eligible_examples(database, hand.run, "star") == frozenset()
    for source in ("first_pass", "star"):
        [shown] = exemplars.load_exemplars(database, hand.run.id, [claimed.example_id], source)
        assert shown.rationale == "elected"
    assert units(database, id=claimed.unit_id)[0].state == DONE
