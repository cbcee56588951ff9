"""A vote waits until all samples have ended, goes on without those that failed, and can be retried."""

from __future__ import annotations

import pytest

from storage.database import Database
from storage.ledger import claims, counts, exemplars, retries, runs
from storage.ledger.claims import MAX_CLAIMS, ClaimedUnit
from storage.schema import DONE, FAILED, NO_SAMPLES, READY, SKIPPED, TRAIN, UPSTREAM_FAILED, WAITING
from tests.support.clock import Clock
from tests.support.small_run import LEASE, Hand, plan, race, units

SAMPLES = 3


@pytest.fixture
def hand(database: Database, clock: Clock) -> Hand:
    """Every example of the train split has its samples ready."""
    opened = Hand(database, plan(database, clock, rationale={"passes": 1, "samples": SAMPLES}), clock)
    for stage in ("augment", "retrieve"):
        for work in opened.take(TRAIN, stage):
            opened.done(work)
    return opened


def drawn(hand: Hand, row: int = 0) -> list[ClaimedUnit]:
    """The samples of one example; the others are given back."""
    works = hand.take(TRAIN, "rationale", "sample")
    claims.release_units(hand.db, "worker", [work.unit_id for work in works if work.example.row != row])
    return [work for work in works if work.example.row == row]


def vote(hand: Hand, work: ClaimedUnit) -> tuple[str, int, str | None]:
    [unit] = units(hand.db, hand.run.id, stage="rationale", variant="", example_id=work.example_id)
    return (unit.state, unit.needs, unit.reason)


def passes(hand: Hand, work: ClaimedUnit) -> set[tuple[str, str | None]]:
    rows = units(hand.db, hand.run.id, stage="rationalize", example_id=work.example_id)
    return {(unit.state, unit.reason) for unit in rows}


def test_every_sample_and_the_vote_are_planned(hand: Hand, database: Database) -> None:
    planned = units(database, stage="rationale", example_id=units(database)[0].example_id)
    assert [(unit.variant, unit.sample, unit.queue, unit.needs) for unit in planned] == [
        *(("sample", number, "teacher.teacher", 0) for number in range(SAMPLES)),
        ("", 0, "judge", SAMPLES),
    ]
    total = counts.funnel(database, hand.run.id, hand.clock()).total()
    assert total.total() == hand.run.planned == 3 * (4 + SAMPLES) + 2 * 13


def test_vote_waits_for_all_and_finds_them_in_order(hand: Hand, database: Database) -> None:
    first, second, third = drawn(hand)
    for left, work in ((2, third), (1, first)):
        hand.done(work, {"text": str(work.sample)}, generation=f"{work.sample}" * 64)
        assert vote(hand, work) == (WAITING, left, None)
    hand.failed(second)
    assert vote(hand, second) == (READY, 0, None)
    assert passes(hand, second) == {(WAITING, None)}
    [work] = hand.take(TRAIN, "rationale", "")
    samples = exemplars.answered_samples(database, work)
    assert [(sample.result, sample.generation) for sample in samples] == [
        ({"text": "0"}, "0" * 64),
        ({"text": "2"}, "2" * 64),
    ]


def test_samples_that_end_together_are_counted_once_each(hand: Hand) -> None:
    works = drawn(hand)
    race(SAMPLES, lambda number: hand.failed(works[number]) if number else hand.done(works[number]))
    assert vote(hand, works[0]) == (READY, 0, None)


def test_poison_sample_does_not_hold_back_the_vote(hand: Hand, database: Database) -> None:
    doomed, *others = drawn(hand)
    for _ in range(MAX_CLAIMS):
        hand.clock.advance(LEASE + 1)
        claims.claim_units(database, "doomed", [doomed.unit_id], hand.clock(), LEASE)
    assert units(database, id=doomed.unit_id)[0].reason == "crash"
    for work in others:
        hand.done(work)
    assert vote(hand, doomed) == (READY, 0, None)


def without_samples(hand: Hand) -> list[ClaimedUnit]:
    """Samples that all failed, each for a reason of its own, and the vote on them."""
    works = drawn(hand)
    for work, reason in zip(works, ("null", "refusal", "refusal"), strict=True):
        hand.failed(work, reason)
    [work] = hand.take(TRAIN, "rationale", "")
    assert exemplars.answered_samples(hand.db, work) == []
    hand.failed(work, NO_SAMPLES)
    assert vote(hand, work) == (FAILED, 0, NO_SAMPLES)
    assert passes(hand, work) == {(SKIPPED, UPSTREAM_FAILED)}
    return works


@pytest.mark.parametrize(("reason", "sent"), [(None, 3), ("null", 1), ("refusal", 2), (NO_SAMPLES, 3)])
def test_vote_without_samples_is_retried_by_way_of_them(
    hand: Hand, database: Database, reason: str | None, sent: int
) -> None:
    works = without_samples(hand)
    assert retries.retry(database, hand.run, reason) == sent
    assert vote(hand, works[0]) == (WAITING, sent, None)
    assert passes(hand, works[0]) == {(WAITING, None)}
    again = [work for work in drawn(hand) if work.unit_id in {old.unit_id for old in works}]
    assert len(again) == sent
    for work in again:
        assert vote(hand, work)[0] == WAITING
        hand.done(work)
    assert vote(hand, works[0]) == (READY, 0, None)


def test_sample_is_retried_while_the_vote_waits(hand: Hand, database: Database) -> None:
    first, second, third = drawn(hand)
    hand.failed(first)
    assert vote(hand, first) == (WAITING, 2, None)
    assert retries.retry(database, hand.run) == 1
    assert vote(hand, first) == (WAITING, 3, None)
    for work in (second, third):
        hand.done(work)
    [again] = [work for work in hand.take(TRAIN, "rationale", "sample") if work.unit_id == first.unit_id]
    hand.done(again)
    assert vote(hand, first) == (READY, 0, None)


def test_sample_is_not_retried_after_the_vote(hand: Hand, database: Database) -> None:
    first, *others = drawn(hand)
    hand.failed(first)
    for work in others:
        hand.done(work)
    assert retries.retry(database, hand.run) == 0
    [work] = hand.take(TRAIN, "rationale", "")
    hand.done(work)
    before = units(database)
    assert retries.retry(database, hand.run) == retries.retry(database, hand.run, "null") == 0
    assert units(database) == before
    assert runs.run_state(database, hand.run.id) == ("running", "")


def test_right_rationales_are_counted_without_samples(hand: Hand, database: Database) -> None:
    for work in drawn(hand):
        assert exemplars.count_right_before(database, work) == 0
        hand.done(work, {"text": "sample", "correct": True})
    [work] = hand.take(TRAIN, "rationale", "")
    assert exemplars.count_right_before(database, work) == 0
    hand.done(work, {"text": "elected", "correct": True})
    [work] = hand.take(TRAIN, "rationalize")
    assert exemplars.count_right_before(database, work) == 1
    hand.done(work, {"text": "its own does not count", "correct": True})
    assert exemplars.count_right_before(database, work) == 1


def test_students_see_only_the_elected_rationale(hand: Hand, database: Database) -> None:
    """A right sample that lost its vote makes no exemplar."""
    works = drawn(hand)
    for work in works:
        hand.done(work, {"text": f"sample {work.sample}", "correct": work.sample == 0})
    [work] = hand.take(TRAIN, "rationale", "")
    hand.done(work, {"text": "elected", "correct": False})
    assert exemplars.eligible_examples(database, hand.run, "first_pass") == frozenset()
    assert exemplars.eligible_examples(database, hand.run, "star") == frozenset()
    for source in ("first_pass", "star"):
        [shown] = exemplars.load_exemplars(database, hand.run.id, [work.example_id], source)
        assert shown.rationale == "elected"
    assert units(database, id=work.unit_id)[0].state == DONE
