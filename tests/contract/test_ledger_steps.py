"""Failures in a pipeline of steps: votes go on without what failed, and a retry opens what was held back."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from sqlalchemy import select

from storage.database import Database
from storage.ledger import retries, runs
from storage.ledger.claims import ClaimedUnit
from storage.schema import DONE, FAILED, FINISHED, INTERRUPTED, NO_SAMPLES, READY, SKIPPED, UNITS, WAITING
from tests.support.step_runs import NOW, StepEnd, StepRun, drafted, end_all, rows

GOOD: StepEnd = {"value": {"score": 4}}


def units(run: StepRun, row: int) -> dict[tuple[str, int], tuple[str, int]]:
    """State and needs of a row's units by step and sample."""
    query = select(UNITS).where(UNITS.c.run_id == run.run.id).order_by(UNITS.c.id)
    with run.db.read() as connection:
        found = connection.execute(query).all()
    ids = sorted({unit.example_id for unit in found})
    return {
        (unit.stage, unit.sample): (unit.state, unit.needs) for unit in found if unit.example_id == ids[row]
    }


def failing_samples(run: StepRun, samples: Sequence[int], reason: str = "refusal") -> None:
    run.end("draft", lambda unit: reason if unit.sample in samples else drafted(unit))


def test_a_vote_goes_on_without_a_sample_and_what_was_skipped_for_it(database: Database) -> None:
    run = StepRun.plan(database, rows(1))
    failing_samples(run, [0])
    assert units(run, 0)["critique", 0] == (SKIPPED, 1)
    assert units(run, 0)["best", 0] == (WAITING, 1)
    run.end("critique", lambda unit: GOOD)
    assert units(run, 0)["best", 0] == (READY, 0)


def test_a_unit_that_two_failures_skip_releases_its_vote_once(database: Database) -> None:
    steps = {
        "one": {"prompt": "{{ question }}", "samples": 2},
        "two": {"prompt": "{{ question }}", "samples": 2},
        "both": {"prompt": "{{ one }} {{ two }}"},
        "best": {"of": "both", "by": "majority"},
    }
    run = StepRun.plan(database, rows(1), steps=steps)
    run.end("one", lambda unit: "null" if unit.sample == 0 else drafted(unit))
    run.end("two", lambda unit: "null" if unit.sample == 0 else drafted(unit))
    assert units(run, 0)["best", 0] == (WAITING, 1)


def test_a_sample_is_retried_until_the_vote_is_done(database: Database) -> None:
    run = StepRun.plan(database, rows(1))
    planned = units(run, 0)
    failing_samples(run, [0])
    assert retries.retry(database, run.run) == 1
    assert units(run, 0) == planned | {
        ("draft", 1): (DONE, 0), ("critique", 1): (READY, 0), ("best", 0): (WAITING, 3)
    }  # fmt: skip
    failing_samples(run, [0])
    run.end("critique", lambda unit: GOOD)
    run.end("best", drafted)
    before = units(run, 0)
    assert retries.retry(database, run.run) == 0
    assert units(run, 0) == before


@pytest.mark.parametrize(
    ("reason", "stage"), [(None, None), ("refusal", None), (NO_SAMPLES, None), (None, "draft")]
)
def test_a_vote_without_samples_waits_for_them_again(
    database: Database, reason: str | None, stage: str | None
) -> None:
    run = StepRun.plan(database, rows(5))
    planned = units(run, 4)
    end_all(run)
    run.close()
    ended = [units(run, row) for row in range(4)]
    assert retries.retry(database, run.run, reason, stage) == 2
    assert units(run, 4) == planned
    assert [units(run, row) for row in range(4)] == ended
    assert run.reload().state == INTERRUPTED
    runs.start_run(database, run.run.id, NOW)
    for step in run.run.experiment.steps:
        run.end(step, lambda unit: GOOD)
    assert {state for state, _ in units(run, 4).values()} == {DONE}
    run.close()


def test_only_the_units_of_a_step_are_retried(database: Database) -> None:
    run = StepRun.plan(database, rows(2))
    run.end("draft", drafted)
    run.end("critique", lambda unit: "no_score" if unit.example.row == 0 else GOOD)
    run.end("best", lambda unit: NO_SAMPLES if unit.example.row == 0 else "no_score")
    assert retries.retry(database, run.run, stage="best") == 3
    assert units(run, 0)["critique", 1] == (READY, 0)
    assert (units(run, 0)["best", 0], units(run, 1)["best", 0]) == ((WAITING, 2), (READY, 0))


@pytest.mark.parametrize("seed", range(12))
def test_every_run_ends_whatever_fails_and_is_retried(database: Database, seed: int) -> None:
    rng = random.Random(seed)
    run = StepRun.plan(database, rows(4), rows(2))

    def ended(unit: ClaimedUnit) -> StepEnd:
        made: list[StepEnd] = ["null", "refusal", GOOD, GOOD, GOOD]
        return rng.choice([*made, None] if unit.stage == "revise" else made)

    for _ in range(12):
        run.end(rng.choice(list(run.run.experiment.steps)), ended)
        if rng.random() < 0.3:
            retries.retry(database, run.run, rng.choice([None, "null", NO_SAMPLES]))
            runs.start_run(database, run.run.id, NOW)
    for _ in range(4):
        for step in run.run.experiment.steps:
            run.end(step, lambda unit: GOOD)
    states = {state for row in range(6) for state, _ in units(run, row).values()}
    assert states <= {DONE, FAILED, SKIPPED}
    run.close()
    assert run.reload().state == FINISHED
