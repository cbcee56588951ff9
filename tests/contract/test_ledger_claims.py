"""A unit has one owner at a time, for as long as the owner says so."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from storage.database import Database
from storage.ledger import claims, leases, outcomes, purchases, runs, scheduling
from storage.ledger.claims import MAX_CLAIMS
from storage.ledger.outcomes import UnitOutcome
from storage.ledger.purchases import CallClaim
from storage.schema import DONE, FAILED, READY, SKIPPED, TEST, TRAIN, UPSTREAM_FAILED, WAITING
from tests.support.clock import Clock
from tests.support.small_run import (
    LEASE,
    PATIENCE,
    Hand,
    claim_one,
    claim_units,
    ids,
    in_batches,
    plan,
    purchase,
    race,
    request,
    take_sendable,
    units,
)


def claim(db: Database, clock: Clock, owner: str, unit_ids: Sequence[int]) -> list[int]:
    return [work.unit_id for work in claim_units(db, owner, unit_ids, clock())]


def test_claim_brings_all_that_the_step_needs(database: Database, clock: Clock) -> None:
    run = plan(database, clock)
    hand = Hand(database, run, clock)
    for work in hand.take(TRAIN, "augment"):
        assert (work.example.question_id, work.inputs) == (f"q{work.example.row}", {})
        hand.done(work, {"query": f"{work.example.request} in place"})
    retrieve = hand.take(TRAIN, "retrieve")
    assert [work.example.row for work in retrieve] == [0, 1, 2]
    hand.done(retrieve[1], {"passages": ["p"]})
    [work] = hand.take(TRAIN, "rationale")
    assert (work.run_id, work.split, work.step) == (run.id, TRAIN, ("rationale", "", 0))
    assert work.example.oracle == ("m.f1",)
    assert work.inputs == {
        ("augment", "", 0): {"query": "sort 1 in place"},
        ("retrieve", "augmented", 0): {"passages": ["p"]},
    }


def test_inputs_of_other_runs_and_examples_stay_out(database: Database, clock: Clock) -> None:
    for number in (1, 2):
        run = plan(database, clock, f"small-{number}", seed=number)
        hand = Hand(database, run, clock)
        for work in hand.take(TRAIN, "augment"):
            hand.done(work, {"query": f"{run.id} {work.example.row}"})
    both = ids(database, "small-1", stage="retrieve", split=TRAIN) + ids(
        database, "small-2", stage="retrieve", split=TRAIN
    )
    claimed_units = claim_units(database, "worker", both, clock())
    assert len(claimed_units) == 6
    for work in claimed_units:
        assert work.inputs == {("augment", "", 0): {"query": f"{work.run_id} {work.example.row}"}}


def test_live_lease_is_refused_and_expired_one_taken_over(database: Database, clock: Clock) -> None:
    plan(database, clock)
    unit = ids(database, stage="augment")[0]
    assert claim(database, clock, "first", [unit]) == [unit]
    assert claim(database, clock, "second", [unit]) == []
    assert claim(database, clock, "first", [unit]) == []
    clock.advance(LEASE)
    assert claim(database, clock, "second", [unit]) == []
    clock.advance(0.1)
    assert claim(database, clock, "second", [unit]) == [unit]
    assert units(database, id=unit)[0].attempts == 2


def test_unreadable_unit_fails_once_and_skips_its_dependants(database: Database, clock: Clock) -> None:
    plan(database, clock)
    [unit, *_] = ids(database, stage="augment")
    for _ in range(2):
        claims.fail_unreadable_unit(database, unit, "not_readable", "why", clock())
    [row] = units(database, id=unit)
    assert (row.state, row.reason, row.detail, row.lease_owner) == (FAILED, "not_readable", "why", None)
    skipped = units(database, example_id=row.example_id, state=SKIPPED)
    assert {each.reason for each in skipped} == {UPSTREAM_FAILED}
    assert claim(database, clock, "me", [unit]) == []


def test_released_unit_is_ready_at_once(database: Database, clock: Clock) -> None:
    plan(database, clock)
    [(unit, *_), *_] = take_sendable(database, "small-1", "model.large", 1, clock(), PATIENCE)
    claim(database, clock, "me", [unit])
    claims.release_units(database, "they", [unit])
    assert claim(database, clock, "they", [unit]) == []
    claims.release_units(database, "me", [unit])
    rows = units(database, id=unit)[0]
    assert (rows.state, rows.lease_owner, rows.attempts) == (READY, None, 0)
    assert take_sendable(database, "small-1", "model.large", 1, clock(), PATIENCE)[0][0] == unit
    assert claim(database, clock, "they", [unit]) == [unit]


def test_release_does_not_undo_an_end(database: Database, clock: Clock) -> None:
    run = plan(database, clock)
    work = claim_one(database, clock, ids(database, stage="augment")[0])
    Hand(database, run, clock).done(work)
    claims.release_units(database, "worker", [work.unit_id])
    assert [unit.state for unit in units(database, id=work.unit_id)] == [DONE]


def test_only_ready_units_of_a_running_run_are_claimed(database: Database, clock: Clock) -> None:
    run = plan(database, clock, started=False)
    every = ids(database)
    assert claim(database, clock, "me", every) == []
    runs.start_run(database, run.id, clock())
    ready = ids(database, state=READY)
    assert claim(database, clock, "me", [*every, 10**9]) == ready
    claims.release_units(database, "me", ready)
    runs.stop_run(database, run.id, "no key", paused=True)
    assert claim(database, clock, "me", every) == []
    assert claim(database, clock, "me", []) == []


def test_racing_workers_never_share_a_unit(database: Database, clock: Clock) -> None:
    plan(database, clock, train=200, test=1)
    wanted = ids(database, stage="augment", split=TRAIN)

    def work(number: int) -> list[int]:
        mixed = random.Random(number).sample(wanted, len(wanted))
        return [
            unit for batch in in_batches(mixed, 20) for unit in claim(database, clock, f"w{number}", batch)
        ]

    claimed = race(8, work)
    assert sorted(unit for units_of_one in claimed for unit in units_of_one) == wanted
    owners = {unit.id: unit.lease_owner for unit in units(database, stage="augment", split=TRAIN)}
    assert all(owners[unit] == f"w{number}" for number, mine in enumerate(claimed) for unit in mine)
    assert {unit.attempts for unit in units(database, stage="augment", split=TRAIN)} == {1}


@pytest.mark.parametrize(("split", "stage"), [(TRAIN, "augment"), (TEST, "retrieve"), (TRAIN, "rationalize")])
def test_poison_unit_fails_after_its_crashes(
    database: Database, clock: Clock, split: str, stage: str
) -> None:
    """Its dependants are skipped, and the run can end."""
    run = plan(database, clock, train=1, test=1)
    hand = Hand(database, run, clock)
    if stage == "rationalize":
        for before in ("augment", "retrieve", "rationale"):
            for work in hand.take(TRAIN, before):
                hand.done(work)
    [unit, *_] = units(database, split=split, stage=stage)
    for number in range(MAX_CLAIMS):
        assert claim(database, clock, f"doomed {number}", [unit.id]) == [unit.id]
        clock.advance(LEASE + 1)
    assert claim(database, clock, "careful", [unit.id]) == []
    [rows] = units(database, id=unit.id)
    assert (rows.state, rows.reason, rows.lease_owner, rows.finished_at) == (
        FAILED,
        "crash",
        None,
        clock(),
    )
    assert rows.detail == f"claimed {MAX_CLAIMS} times and never finished"
    lost = {
        (TRAIN, "augment"): {"retrieve": 1, "rationale": 1, "rationalize": 2},
        (TEST, "retrieve"): {"answer": 3, "judge": 3},
        (TRAIN, "rationalize"): {"rationalize": 1},
    }[split, stage]
    skipped = units(database, state=SKIPPED)
    assert {name: sum(unit.stage == name for unit in skipped) for name in lost} == lost
    assert len(skipped) == sum(lost.values())
    assert {(unit.split, unit.reason) for unit in skipped} == {(split, UPSTREAM_FAILED)}


def test_poison_units_do_not_hold_back_the_others(database: Database, clock: Clock) -> None:
    plan(database, clock)
    bad, good, _ = ids(database, stage="augment", split=TRAIN)
    for number in range(MAX_CLAIMS):
        claim(database, clock, f"doomed {number}", [bad])
        clock.advance(LEASE + 1)
    assert claim(database, clock, "careful", [bad, good]) == [good]
    assert not scheduling.open_barrier(database, runs.load_run(database, "small-1"))
    assert len(units(database, state=WAITING, split=TRAIN)) == 2 * 4


def test_releases_are_not_counted_as_crashes(database: Database, clock: Clock) -> None:
    plan(database, clock)
    unit = ids(database, stage="augment")[0]
    for _ in range(MAX_CLAIMS + 5):
        assert claim(database, clock, "stopping", [unit]) == [unit]
        claims.release_units(database, "stopping", [unit])


def test_heartbeat_does_not_block_units_that_end(database: Database, clock: Clock) -> None:
    """Nor do lost units that are given back meanwhile."""
    plan(database, clock, train=60, test=1)
    claimed_units = claim_units(database, "worker", ids(database, stage="augment"), clock())
    bought = [purchase(request(str(work.unit_id))) for work in claimed_units]
    for work, call in zip(claimed_units, bought, strict=True):
        purchases.reserve(database, "worker", [CallClaim(work, call.request)], clock())
    lost = [work.unit_id for work in claimed_units[::10]]
    ended = [
        UnitOutcome(work, {"query": "q"}, purchase=call)
        for work, call in zip(claimed_units, bought, strict=True)
    ]

    def act(number: int) -> None:
        if number == 0:
            for batch in in_batches(ended, 4):
                outcomes.finish_units(database, batch, clock())
        else:
            for _ in range(20):
                leases.extend_lease(database, "worker", clock(), LEASE)
                claims.release_lost(database, "worker", lost)

    race(3, act)
    states = {unit.id: unit.state for unit in units(database, stage="augment")}
    assert {state for unit_id, state in states.items() if unit_id not in lost} == {DONE}
