"""A run over time, and the units that ended last, on every database."""

from __future__ import annotations

from itertools import pairwise

import pytest
from sqlalchemy import update

from models.core.types import Rejection
from storage.database import Database
from storage.ledger.latest import latest_units
from storage.ledger.timeline import MAX_INTERVALS, read_timeline
from storage.schema import DONE, GENERATIONS, REJECTIONS, SKIPPED, TEST, UNITS
from tests.support.ledger_data import (
    COST,
    NOW,
    LedgerRun,
    answered,
    example,
    finish_test,
    finish_train,
    retrieved,
)  # fmt: skip


@pytest.fixture
def run(database: Database) -> LedgerRun:
    """Three train and three test rows, all ended, the test rows one second after another."""
    planned = LedgerRun.plan(
        database, [example(row) for row in range(3)], [example(row) for row in (1, 2, 3)]
    )
    finish_train(planned)
    planned.finish(TEST, "retrieve", retrieved)
    planned.reject(TEST, "answer", Rejection("empty", "no text"), "")
    finish_test(planned)
    with database.write() as connection:
        for table in (UNITS, REJECTIONS, GENERATIONS):
            at = table.c.finished_at if table is UNITS else table.c.created_at
            connection.execute(update(table).values({at.name: NOW}))
        late = UNITS.c.split == TEST
        connection.execute(update(UNITS).where(late).values(finished_at=NOW + 120 * UNITS.c.example_id))
    return planned


def test_intervals_hold_all_rows_tokens_and_dollars_once(run: LedgerRun, database: Database) -> None:
    timeline = read_timeline(database, run.run.id)
    each = timeline.intervals
    assert 1 < len(each) <= MAX_INTERVALS
    assert [later.start - earlier.start for earlier, later in pairwise(each)] == (
        [timeline.seconds] * (len(each) - 1)
    )
    assert sum(interval.rows for interval in each) == 6
    assert [interval.rows for interval in each if interval.rows] == [3, 1, 1, 1]
    with database.read() as connection:
        bought = connection.execute(GENERATIONS.select().where(GENERATIONS.c.done)).all()
    assert sum(interval.tokens for interval in each) == sum(
        row.prompt_tokens + row.completion_tokens for row in bought
    )
    assert sum(interval.cost_nano_usd for interval in each) == sum(row.cost_nano_usd for row in bought)
    assert each[0].errors >= 1
    assert COST in {row.cost_nano_usd for row in bought}


def test_a_run_of_months_has_no_more_intervals(run: LedgerRun, database: Database) -> None:
    with database.write() as connection:
        connection.execute(
            update(UNITS)
            .where(UNITS.c.split == TEST)
            .values(finished_at=NOW + 10_000_000 * UNITS.c.example_id)
        )
    timeline = read_timeline(database, run.run.id)
    assert 1 < len(timeline.intervals) <= MAX_INTERVALS
    assert sum(interval.rows for interval in timeline.intervals) == 6


def test_a_run_without_results_has_no_intervals(database: Database) -> None:
    planned = LedgerRun.plan(database, [example(0)], [])
    assert read_timeline(database, planned.run.id).intervals == ()
    assert latest_units(database, planned.run.id) == []


def test_latest_units_come_newest_first_and_each_once(run: LedgerRun, database: Database) -> None:
    whole = latest_units(database, run.run.id, limit=1000)
    assert all(unit.state != SKIPPED for unit in whole)
    ended = [unit.position for unit in whole]
    assert ended == sorted(ended, reverse=True)
    assert whole[0].request == "sort 3"
    assert whole[0].state == DONE
    paged, before = [], None
    while page := latest_units(database, run.run.id, before=before, limit=4):
        paged += page
        before = page[-1].position
    assert paged == whole
    answers = latest_units(database, run.run.id, stage="answer", limit=1000)
    assert answers == [unit for unit in whole if unit.stage == "answer"]
    assert answered("x").keys() <= answers[0].result.keys()
