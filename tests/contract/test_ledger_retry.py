"""Retries: failed units and their dependants are sent again, and every run ends."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from models.core.pipeline.graph import downstream
from models.core.pipeline.plan import queues
from models.core.types import Rejection
from storage.database import Database
from storage.ledger import claims, counts, exemplars, outcomes, queries, retries, runs, scheduling
from storage.ledger.claims import ClaimedUnit
from storage.ledger.row_counts import row_counts
from storage.schema import (
    ALREADY_CORRECT,
    DONE,
    FAILED,
    FINAL,
    FINISHED,
    INTERRUPTED,
    NO_SAMPLES,
    OPEN,
    READY,
    RUNNING,
    SKIPPED,
    TEST,
    TRAIN,
    UPSTREAM_FAILED,
    WAITING,
)
from tests.support.clock import Clock
from tests.support.small_run import (
    LEASE,
    PATIENCE,
    Hand,
    claim_one,
    claim_units,
    ids,
    plan,
    race,
    take_sendable,
    units,
)


@pytest.fixture
def hand(database: Database, clock: Clock) -> Hand:
    return Hand(database, plan(database, clock), clock)


def test_failed_unit_is_ready_and_what_it_held_back_waits(hand: Hand, database: Database) -> None:
    planned = {unit.id: (unit.state, unit.needs) for unit in units(database)}
    take_sendable(database, hand.run.id, "model.large", 9, hand.clock(), PATIENCE)
    first, second, third = hand.take(TRAIN, "augment")
    hand.failed(first)
    hand.done(second)
    claims.release_units(database, "worker", [third.unit_id])
    others = [unit for unit in units(database) if unit.example_id != first.example_id]
    assert retries.retry(database, hand.run) == 1
    again = [unit for unit in units(database) if unit.example_id == first.example_id]
    assert {unit.id: (unit.state, unit.needs) for unit in again} == {
        unit.id: planned[unit.id] for unit in again
    }
    assert {(unit.reason, unit.detail, unit.finished_at, unit.sent_at) for unit in again} == {(None,) * 4}
    assert [unit for unit in units(database) if unit.example_id != first.example_id] == others
    assert retries.retry(database, hand.run) == 0


def test_retry_by_reason_leaves_the_others(hand: Hand, database: Database) -> None:
    first, second, _ = hand.take(TRAIN, "augment")
    hand.failed(first, "null")
    hand.failed(second, "refusal")
    assert retries.retry(database, hand.run, "html") == 0
    assert retries.retry(database, hand.run, "refusal") == 1
    states = {unit.example_id: unit.state for unit in units(database, stage="rationale")}
    assert (states[first.example_id], states[second.example_id]) == (SKIPPED, WAITING)
    assert counts.failure_reasons(database, hand.run.id) == {"null": 1}


def test_retry_leaves_what_was_already_correct(hand: Hand, database: Database) -> None:
    for stage in ("augment", "retrieve"):
        for claimed in hand.take(TRAIN, stage):
            hand.done(claimed)
    first, second, third = hand.take(TRAIN, "rationale")
    hand.correct(first)
    hand.failed(second)
    hand.done(third)
    assert retries.retry(database, hand.run) == 1
    skipped = units(database, state=SKIPPED)
    assert {(unit.example_id, unit.reason) for unit in skipped} == {(first.example_id, ALREADY_CORRECT)}


def test_retried_unit_remembers_the_barrier(hand: Hand, database: Database) -> None:
    """The barrier opened while the answer was skipped: after the retry it needs its passages alone."""
    first, _ = hand.take(TEST, "retrieve")
    hand.failed(first)
    hand.finish_train()
    assert scheduling.open_barrier(database, hand.run)
    retries.retry(database, hand.run)
    hand.done(claim_one(database, hand.clock, first.unit_id))
    behind = units(database, stage="answer", variant="student/2-shot/retrieval", example_id=first.example_id)
    assert [(unit.needs, unit.state) for unit in behind] == [(0, READY)]


def test_retry_gives_a_full_budget(hand: Hand, database: Database) -> None:
    claimed = hand.take(TRAIN, "augment")[0]
    for attempt in range(3):
        outcomes.record_rejection(database, claimed, Rejection("null"), attempt, "0" * 64, None, hand.clock())
    hand.failed(replace(claimed, rejections=3), "null", Rejection("null"))
    retries.retry(database, hand.run)
    again = claim_one(database, hand.clock, claimed.unit_id)
    assert (again.rejections, again.budget_from) == (4, 4)
    assert [reason for reason, _, _ in queries.rejected_texts(database, claimed.unit_id)] == ["null"] * 4
    assert units(database, id=claimed.unit_id)[0].attempts == 1


def test_finished_run_goes_on_after_a_retry(hand: Hand, database: Database) -> None:
    live(hand, random.Random(0), failing=1.0)
    assert retries.retry(database, hand.run, "no such reason") == 0
    assert runs.run_state(database, hand.run.id)[0] == FINISHED
    assert retries.retry(database, hand.run) > 0
    state, message = runs.run_state(database, hand.run.id)
    assert (state, message) == (INTERRUPTED, "failed units are to be tried again")
    assert runs.load_run(database, hand.run.id).finished_at is None
    assert not scheduling.finish_run(database, hand.run.id, hand.clock())


def test_retry_of_a_running_run_leaves_it_running(hand: Hand, database: Database) -> None:
    hand.failed(hand.take(TRAIN, "augment")[0])
    retries.retry(database, hand.run)
    assert runs.run_state(database, hand.run.id) == (RUNNING, "")


def test_retry_meets_units_that_fail_at_the_same_time(database: Database, clock: Clock) -> None:
    """The dependants of a unit are skipped if and only if the unit has failed."""
    run = plan(database, clock, train=60, test=1)
    hand = Hand(database, run, clock)
    claimed_units = hand.take(TRAIN, "augment")

    def act(number: int) -> None:
        if number == 0:
            for _ in range(10):
                retries.retry(database, run)
        else:
            for claimed in claimed_units[number - 1 :: 3]:
                hand.failed(claimed)

    race(4, act)
    consistent(hand)


@pytest.mark.parametrize("seed", range(3))
def test_every_run_comes_to_its_end(hand: Hand, database: Database, seed: int) -> None:
    """Workers fail, are refused, give back and die at random; retries heal what can be healed."""
    chance = random.Random(seed)
    for failing in (0.3, 0.15, 0.15, 0.0):
        live(hand, chance, failing)
        assert {unit.state for unit in units(database)} <= set(FINAL)
        consistent(hand)
        if failing:
            failed = len(ids(database, state=FAILED))
            assert retries.retry(database, hand.run) == failed
    assert {(unit.state, unit.reason) for unit in units(database)} <= {
        (DONE, None),
        (SKIPPED, ALREADY_CORRECT),
    }
    assert {unit.needs for unit in units(database, state=DONE)} == {0}


@pytest.mark.parametrize("seed", range(2))
def test_every_run_with_votes_comes_to_its_end(database: Database, clock: Clock, seed: int) -> None:
    """A sample that failed stays so where the others were voted on; every example has its rationale."""
    hand = Hand(database, plan(database, clock, rationale={"passes": 1, "samples": 3}), clock)
    chance = random.Random(seed)
    for failing in (0.45, 0.3, 0.15, 0.0):
        live(hand, chance, failing)
        consistent(hand)
        if failing:
            retries.retry(database, hand.run)
    failed = units(database, state=FAILED)
    assert failed
    assert {unit.variant for unit in failed} == {"sample"}
    assert {unit.state for unit in units(database, stage="rationale", variant="")} == {DONE}
    assert {unit.needs for unit in units(database, state=DONE)} == {0}


def live(hand: Hand, chance: random.Random, failing: float) -> None:
    """Feeds the run and works on it until it is finished."""
    db, run, clock = hand.db, hand.run, hand.clock
    runs.start_run(db, run.id, clock())
    for _ in range(400):
        scheduling.open_barrier(db, run)
        for queue in queues(run.experiment):
            taken = take_sendable(db, run.id, queue, chance.randint(1, 9), clock(), PATIENCE)
            for claimed in claim_units(db, f"w{chance.random()}", [unit for unit, *_ in taken], clock()):
                end(hand, chance, claimed, failing)
            funnel = counts.funnel(db, run.id, clock())
            assert funnel.total().total() == run.planned
            still_open = {unit.example_id for unit in units(db, run.id) if unit.state in OPEN}
            assert row_counts(db, run, funnel).open == len(still_open)
        if scheduling.finish_run(db, run.id, clock()):
            assert runs.run_state(db, run.id) == (FINISHED, "")
            return
        clock.advance(chance.uniform(0, LEASE))
    pytest.fail(f"not finished: {Counter(unit.state for unit in units(db, run.id))}")


def end(hand: Hand, chance: random.Random, claimed: ClaimedUnit, failing: float) -> None:
    fate = chance.random()
    votes = (claimed.stage, claimed.variant) == (
        "rationale",
        "",
    ) and hand.run.experiment.rationale.samples > 1
    if votes and not exemplars.answered_samples(hand.db, claimed):
        hand.failed(claimed, NO_SAMPLES)
    elif fate < failing:
        hand.failed(claimed, chance.choice(["null", "refusal"]), Rejection("null"))
    elif fate < 1.5 * failing:
        outcomes.record_rejection(
            hand.db, claimed, Rejection("html"), claimed.rejections, "0" * 64, None, hand.clock()
        )
        claims.release_units(hand.db, owner_of(hand, claimed), [claimed.unit_id])
    elif fate < 2 * failing:
        return  # The worker dies: its lease runs out.
    elif claimed.step == ("rationale", "", 0) and fate > 0.8:
        hand.correct(claimed)
    else:
        hand.done(claimed)
        if chance.random() < 0.2:
            hand.failed(claimed)  # A second message of the same unit comes too late.


def owner_of(hand: Hand, claimed: ClaimedUnit) -> str:
    return str(units(hand.db, hand.run.id, id=claimed.unit_id)[0].lease_owner)


def consistent(hand: Hand) -> None:
    """A unit is skipped for want of another exactly where one that it needs has failed."""
    held_back: set[tuple[Any, ...]] = set()
    of_step: dict[tuple[Any, ...], Any] = {}
    for unit in units(hand.db, hand.run.id):
        step = (unit.stage, unit.variant, unit.sample)
        of_step[unit.example_id, step] = unit
        if unit.state == FAILED:
            lost = downstream(hand.run.slots[unit.split], step)
            held_back.update((unit.example_id, later) for later in lost)
    skipped = {
        index for index, unit in of_step.items() if (unit.state, unit.reason) == (SKIPPED, UPSTREAM_FAILED)
    }
    assert skipped == held_back
