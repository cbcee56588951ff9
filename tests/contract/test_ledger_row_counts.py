"""Rows are counted once for all displays: finished, failed or open."""

from __future__ import annotations

import pytest

from storage.database import Database
from storage.ledger.counts import funnel
from storage.ledger.row_counts import RowCounts, row_counts
from storage.ledger.step_units import step_units
from storage.schema import TEST, TRAIN
from tests.support.clock import Clock
from tests.support.small_run import Hand, plan
from tests.support.step_runs import NOW, StepEnd, StepRun, drafted, end_all, rows


def counted(run: StepRun) -> RowCounts:
    """The counts of the ledger, which must be those of the rows one by one."""
    counts = row_counts(run.db, run.run, funnel(run.db, run.run.id, NOW))
    each = [(row.is_final, row.is_done) for row in step_units(run.db, run.run)]
    assert counts == RowCounts(len(each), each.count((True, True)), each.count((True, False)))
    return counts


def test_rows_of_steps_are_finished_when_nothing_of_them_is_open(database: Database) -> None:
    run = StepRun.plan(database, rows(4), rows(1))
    assert counted(run) == RowCounts(5, 0, 0)
    # Row 0 of both splits has failed at once, since nothing else can follow.
    run.end("draft", lambda unit: "refusal" if unit.example.row == 0 else drafted(unit))
    assert counted(run) == RowCounts(5, 0, 0)
    run.end("best", lambda unit: "no_samples")
    assert counted(run) == RowCounts(5, 0, 2)


def test_failed_samples_and_false_conditions_fail_no_row(database: Database) -> None:
    run = StepRun.plan(database, rows(5))
    end_all(run)
    assert counted(run) == RowCounts(5, 4, 1)
    assert counted(run).document() == {"planned": 5, "finished": 4, "failed": 1, "open": 0}


def test_failed_row_is_open_while_another_of_its_steps_is(database: Database) -> None:
    steps = {"left": {"prompt": "{{ question }}"}, "right": {"prompt": "{{ question }}"}}
    run = StepRun.plan(database, rows(2), steps=steps)
    run.end("left", lambda unit: "refusal")
    assert counted(run) == RowCounts(2, 0, 0)
    run.end("right", drafted)
    assert counted(run) == RowCounts(2, 0, 2)


@pytest.mark.parametrize(("end", "expected"), [("refusal", RowCounts(3, 0, 3)), ({}, RowCounts(3, 3, 0))])
def test_rows_of_one_unit_are_their_units(database: Database, end: StepEnd, expected: RowCounts) -> None:
    run = StepRun.plan(database, rows(3), steps={"draft": {"prompt": "{{ question }}"}})
    assert counted(run) == RowCounts(3, 0, 0)
    run.end("draft", lambda _: end)
    assert counted(run) == expected


def test_rows_of_the_paper_are_those_of_both_splits(database: Database, clock: Clock) -> None:
    run = plan(database, clock)
    hand = Hand(database, run, clock)

    def now() -> RowCounts:
        return row_counts(database, run, funnel(database, run.id, clock()))

    assert now() == RowCounts(5, 0, 0)
    hand.failed(hand.take(TRAIN, "augment")[0])
    assert now() == RowCounts(5, 0, 1)
    for unit in hand.take(TEST, "answer"):
        hand.done(unit)
    assert now() == RowCounts(5, 0, 1)
