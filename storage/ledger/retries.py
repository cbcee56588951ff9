"""Retry failed units, and let the units that were skipped for them wait again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, exists, or_, select, tuple_, update
from sqlalchemy.sql.elements import ColumnElement

from models.core.pipeline.graph import Step, downstream, gathering_dependants
from models.core.pipeline.rounds import MAX_ROUNDS, SAMPLE, SAMPLES, in_round
from storage import schema
from storage.database import Database
from storage.ledger.runs import Run
from storage.ledger.stand_ins import reopen_stand_ins
from storage.ledger.step_retries import reopen_units
from storage.schema import RUNS, UNITS

PAGE = 500
RETRY_MESSAGE = "failed units are to be tried again"


def retry(db: Database, run: Run, reason: str | None = None, stage: str | None = None) -> int:
    """Make failed units ready again, those that failed for `reason` or at `stage`, let units skipped for them
    wait, and return how many are ready. Units that ended with a stand-in are tried again, too, and with them
    what rests on them.

    A sample is not retried once the others were voted on: its answer would not count.
    """
    with db.write() as connection:
        state = connection.execute(
            select(RUNS.c.state).where(RUNS.c.id == run.id).with_for_update()
        ).scalar_one()
        ready = reopen_stand_ins(connection, run, reason, stage)
        if run.experiment.steps:
            ready += reopen_units(connection, run, reason, stage)
        else:
            ready += _reopen(connection, run, reason, stage)
        if ready and state == schema.FINISHED:
            connection.execute(
                update(RUNS)
                .where(RUNS.c.id == run.id)
                .values(state=schema.INTERRUPTED, message=RETRY_MESSAGE, finished_at=None)
            )
        return ready


def _reopen(connection: Connection, run: Run, reason: str | None, stage: str | None) -> int:
    again = connection.execute(
        update(UNITS)
        .where(UNITS.c.run_id == run.id, *_can_be_retried(reason), *_at(stage))
        .values(
            state=schema.READY, reason=None, detail=None, finished_at=None, sent_at=None, attempts=0,
            budget_from=UNITS.c.rejections,
        )
        .returning(UNITS.c.example_id, UNITS.c.split, UNITS.c.stage, UNITS.c.variant, UNITS.c.sample)
    ).all()  # fmt: skip
    examples: dict[tuple[str, Step], list[int]] = {}
    for example_id, split, *step in again:
        examples.setdefault((split, (step[0], step[1], step[2])), []).append(example_id)
    for (split, failed), example_ids in examples.items():
        slots = run.slots[split]
        _wait_again(connection, run.id, example_ids, downstream(slots, failed))
        for vote in gathering_dependants(slots, failed):
            _wait_for_samples_again(connection, run.id, example_ids, vote)
            _wait_again(connection, run.id, example_ids, downstream(slots, vote))
    return len(again)


def _at(stage: str | None) -> list[ColumnElement[bool]]:
    return [UNITS.c.stage == stage] if stage else []


def _can_be_retried(reason: str | None) -> list[ColumnElement[bool]]:
    """Select failed units; a vote without samples is retried through its samples."""
    vote = UNITS.alias("vote")
    of_sample = [
        or_(
            *(
                and_(UNITS.c.variant == in_round(number, SAMPLE), vote.c.variant == in_round(number))
                for number in range(1, MAX_ROUNDS + 1)
            )
        ),
        *(vote.c[name] == UNITS.c[name] for name in ("run_id", "example_id", "stage")),
    ]
    without = and_(vote.c.state == schema.FAILED, vote.c.reason == schema.NO_SAMPLES)
    unvoted = exists().where(*of_sample, or_(vote.c.state == schema.WAITING, without)).correlate(UNITS)
    conditions = [
        UNITS.c.state == schema.FAILED,
        UNITS.c.reason.is_distinct_from(schema.NO_SAMPLES),
        or_(UNITS.c.variant.not_in(SAMPLES), unvoted),
    ]
    if reason == schema.NO_SAMPLES:
        return [*conditions, exists().where(*of_sample, without).correlate(UNITS)]
    return [*conditions, UNITS.c.reason == reason] if reason else conditions


def _wait_for_samples_again(
    connection: Connection, run_id: str, example_ids: Sequence[int], vote: Step
) -> None:
    """Count up the needs of votes; a vote that failed without samples waits again."""
    without = and_(UNITS.c.state == schema.FAILED, UNITS.c.reason == schema.NO_SAMPLES)
    for start in range(0, len(example_ids), PAGE):
        connection.execute(
            update(UNITS)
            .where(
                *_among(run_id, example_ids[start : start + PAGE], [vote]),
                or_(UNITS.c.state == schema.WAITING, without),
            )
            .values(
                state=schema.WAITING, needs=UNITS.c.needs + 1, reason=None, detail=None, finished_at=None,
                sent_at=None, attempts=0,
            )
        )  # fmt: skip


def _wait_again(
    connection: Connection, run_id: str, example_ids: Sequence[int], steps: Sequence[Step]
) -> None:
    for start in range(0, len(example_ids), PAGE):
        connection.execute(
            update(UNITS)
            .where(
                *_among(run_id, example_ids[start : start + PAGE], steps),
                UNITS.c.state == schema.SKIPPED,
                UNITS.c.reason == schema.UPSTREAM_FAILED,
            )
            .values(state=schema.WAITING, reason=None, finished_at=None)
        )


def _among(run_id: str, example_ids: Sequence[int], steps: Sequence[Step]) -> list[Any]:
    return [
        UNITS.c.run_id == run_id,
        UNITS.c.example_id.in_(example_ids),
        tuple_(UNITS.c.stage, UNITS.c.variant, UNITS.c.sample).in_(steps),
    ]
