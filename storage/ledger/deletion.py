"""Delete runs. The row of a run goes first: then nothing can use the rest, which goes in short transactions.

Who is interrupted, also in planning, leaves rows without a run; the next deletion takes them along. Answers
that were bought stay for other runs, unless they are to go, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, or_, select, union

from models.core.errors import UsageError
from storage.database import Database
from storage.ledger.example_lock import lock_examples
from storage.ledger.leases import live_owners, live_planners, planner_name
from storage.schema import (
    BATCHES,
    EXAMPLES,
    GENERATIONS,
    REJECTIONS,
    RUNNING,
    RUNS,
    SPENDING,
    UNIT_COUNTS,
    UNITS,
    UNSETTLED,
)

# Rows in one transaction, and with answers, each of which may be long.
CHUNK = 5000
DAY = 86_400.0
# A provider answers a batch within a day, and bills it.
BATCH_SECONDS = 2 * DAY
# The counts come last: they tell which deletions were interrupted.
_PARTS = (UNITS, REJECTIONS, BATCHES, SPENDING)


@dataclass(frozen=True, slots=True)
class RunRows:
    """The rows that go with a run; `answers` are those that it bought."""

    run_id: str
    units: int
    rejections: int
    answers: int


def idle_runs(db: Database, days: float, now: float) -> list[str]:
    """Return the runs that ended, or were left, before so many days; none that is running."""
    last = func.coalesce(RUNS.c.finished_at, RUNS.c.started_at)
    query = (
        select(RUNS.c.id).where(RUNS.c.state != RUNNING, last < now - days * DAY).order_by(RUNS.c.created_at)
    )
    with db.read() as connection:
        return list(connection.scalars(query))


def count_rows(db: Database, run_ids: Sequence[str]) -> list[RunRows]:
    """Return what a deletion of each run would delete."""
    with db.read() as connection:
        return [
            RunRows(
                run_id,
                _total(connection, func.sum(UNIT_COUNTS.c.number), UNIT_COUNTS.c.run_id == run_id),
                _total(connection, func.count(), REJECTIONS.c.run_id == run_id),
                _total(connection, func.count(), GENERATIONS.c.run_id == run_id),
            )
            for run_id in run_ids
        ]


def _total(connection: Connection, measure: Any, condition: ColumnElement[bool]) -> int:
    return int(connection.scalar(select(measure).where(condition)) or 0)


def require_idle(db: Database, run_ids: Sequence[str], now: float) -> None:
    """Raise UsageError if one of the runs is at work."""
    with db.read() as connection:
        for run_id in run_ids:
            _require_idle(connection, run_id, now)


def delete_runs(
    db: Database, run_ids: Sequence[str], now: float, *, answers: bool = False, chunk: int = CHUNK
) -> Counter[str]:
    """Delete the runs, and what earlier deletions left. Return the number of deleted rows by table.

    With `answers` those that no other run uses go as well, also of runs that were deleted before. Raises
    UsageError for a run at work; the runs before it are deleted.
    """
    gone: Counter[str] = Counter()
    for run_id in run_ids:
        with db.write() as connection:
            connection.execute(select(RUNS.c.id).where(RUNS.c.id == run_id).with_for_update())
            _require_idle(connection, run_id, now)
            gone["run"] += connection.execute(delete(RUNS).where(RUNS.c.id == run_id)).rowcount
    return +(gone + delete_leftovers(db, now, answers=answers, chunk=chunk))


def delete_leftovers(db: Database, now: float, *, answers: bool = False, chunk: int = CHUNK) -> Counter[str]:
    """Delete what has no run and is not being planned. Return the number of deleted rows by table."""
    gone: Counter[str] = Counter()
    with db.read() as connection:
        counted = (select(table.c.run_id).where(_is_gone(table)) for table in (UNIT_COUNTS, SPENDING))
        left = list(connection.scalars(union(*counted)))
        planners = set(connection.scalars(live_planners(now)))
    for run_id in (run_id for run_id in left if planner_name(run_id) not in planners):
        for table in _PARTS:
            gone[table.name] += _delete(db, table, table.c.run_id == run_id, chunk)
        unanswered = and_(GENERATIONS.c.run_id == run_id, GENERATIONS.c.done.is_(False))
        gone["generation"] += _delete(db, GENERATIONS, unanswered, chunk)
        gone["unit_count"] += _delete(db, UNIT_COUNTS, UNIT_COUNTS.c.run_id == run_id, chunk)
    if answers:
        gone["generation"] += _delete_unused_answers(db, chunk)
    gone["example"] += _delete_unused_examples(db, now)
    return gone


def _require_idle(connection: Connection, run_id: str, now: float) -> None:
    run = connection.execute(
        select(RUNS.c.state, RUNS.c.feeder, RUNS.c.feeder_until).where(RUNS.c.id == run_id)
    )
    row = run.one_or_none()
    if row is None:
        return
    if (row.feeder_until or 0.0) >= now:
        raise UsageError(f"run {run_id} is being fed by {row.feeder}; pause it: starmill pause {run_id}")
    if row.state == RUNNING:
        raise UsageError(f"run {run_id} is running; pause it first: starmill pause {run_id}")
    held = and_(UNITS.c.run_id == run_id, UNITS.c.lease_owner.in_(live_owners(now)))
    if units := _total(connection, func.count(), held):
        raise UsageError(
            f"workers still hold {units:,} units of run {run_id}; wait until they have ended them"
        )
    sent = and_(
        BATCHES.c.run_id == run_id, BATCHES.c.state.in_(UNSETTLED), BATCHES.c.created_at > now - BATCH_SECONDS
    )
    if batches := _total(connection, func.count(), sent):
        raise UsageError(
            f"run {run_id} has {batches:,} batches at the provider, which are paid: resume it until they "
            "have arrived, or delete it two days after they were sent"
        )


def _is_gone(table: Table) -> ColumnElement[bool]:
    """Return the condition that the run of a row is deleted."""
    return table.c.run_id.not_in(select(RUNS.c.id))


def _delete(db: Database, table: Table, condition: ColumnElement[bool], chunk: int) -> int:
    (key,) = table.primary_key.columns
    some = delete(table).where(key.in_(select(key).where(condition).limit(chunk)))
    total = 0
    while True:
        with db.write() as connection:
            rows = connection.execute(some).rowcount
        total += rows
        if rows < chunk:
            return total


def _delete_unused_answers(db: Database, chunk: int) -> int:
    """Delete answers that were bought for deleted runs and that no unit or rejection names."""
    named = (
        GENERATIONS.c.key.in_(select(table.c.generation).where(table.c.generation.is_not(None)))
        for table in (UNITS, REJECTIONS)
    )
    return _delete(db, GENERATIONS, and_(_is_gone(GENERATIONS), ~or_(*named)), chunk)


def _delete_unused_examples(db: Database, now: float) -> int:
    """Delete rows of data that no run has, unless one is being planned, which may be of these."""
    unused = EXAMPLES.c.dataset.not_in(select(RUNS.c.dataset))
    with db.read() as connection:
        datasets = list(connection.scalars(select(EXAMPLES.c.dataset).where(unused).distinct()))
    total = 0
    for dataset in datasets:
        with db.write() as connection:
            lock_examples(connection, shared=False)
            if connection.execute(live_planners(now)).first():
                break
            total += connection.execute(
                delete(EXAMPLES).where(EXAMPLES.c.dataset == dataset, unused)
            ).rowcount
    return total
