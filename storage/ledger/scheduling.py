"""The feeder's queries: who feeds a run, which units to send, what to release, and each run's demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from itertools import takewhile
from typing import Any

from sqlalchemy import Connection, Select, and_, case, exists, func, literal, or_, select, update

from models.core.identity import group_starts, row_identity
from models.core.pipeline.grid import cells
from models.core.pipeline.stages import Stage, round_count, round_start, units_of_round
from storage import schema
from storage.database import Database
from storage.ledger.runs import Run
from storage.schema import EXAMPLES, RUNS, UNITS

PAGE = 1000
# The largest `augment.batch_size`.
MAX_GROUP = 100


def claim_feeding(
    db: Database, run_id: str, feeder: str, now: float, lease: float, dead: str | None = None
) -> str:
    """Become or stay the one feeder of a run if it is free, and return its feeder.

    `dead` names a feeder that is known to have ended.
    """
    free = or_(
        RUNS.c.feeder.is_(None),
        RUNS.c.feeder == feeder,
        RUNS.c.feeder_until < now,
        RUNS.c.feeder == dead,
    )
    with db.write() as connection:
        connection.execute(
            update(RUNS).where(RUNS.c.id == run_id, free).values(feeder=feeder, feeder_until=now + lease)
        )
        return connection.execute(select(RUNS.c.feeder).where(RUNS.c.id == run_id)).scalar_one() or ""


def current_feeder(db: Database, run_id: str, now: float) -> str:
    """Return the live feeder of a run, or an empty string."""
    query = select(RUNS.c.feeder).where(RUNS.c.id == run_id, RUNS.c.feeder_until >= now)
    with db.read() as connection:
        return connection.execute(query).scalar() or ""


def stop_feeding(db: Database, run_id: str, feeder: str) -> None:
    """Stop feeding a run; another feeder can begin at once."""
    with db.write() as connection:
        connection.execute(
            update(RUNS)
            .where(RUNS.c.id == run_id, RUNS.c.feeder == feeder)
            .values(feeder=None, feeder_until=None)
        )


def augment_group_starts(db: Database, run: Run) -> frozenset[int]:
    """Return the units that begin a common call of augmentations; none if each request has its own call, or
    if rows are their numbers."""
    size = run.experiment.augment.batch_size
    if size == 1 or run.experiment.identity == "row":
        return frozenset()
    query = (
        select(UNITS.c.id, EXAMPLES.c.request, EXAMPLES.c.reference)
        .join(EXAMPLES, EXAMPLES.c.id == UNITS.c.example_id)
        .where(UNITS.c.run_id == run.id, UNITS.c.stage == "augment")
    )
    starts: set[int] = set()
    for split in (schema.TRAIN, schema.TEST):
        of_split = query.where(UNITS.c.split == split).order_by(UNITS.c.id)
        with db.read() as connection:
            rows = connection.execution_options(yield_per=PAGE).execute(of_split)
            starts |= group_starts(((row.id, row_identity(row.request, row.reference)) for row in rows), size)
    return frozenset(starts)


def take_sendable(
    db: Database,
    run_id: str,
    queue: str,
    limit: int,
    now: float,
    patience: float,
    starts: Set[int] = frozenset(),
) -> list[tuple[int, str, str]]:
    """Return (unit, stage, example such as `test/12`) of up to `limit` ready units to send, and of those that
    complete the last group of augmentations; `starts` begin groups.

    They have neither a live lease nor a message of the last `patience` seconds. They are marked as sent
    before they are sent: a crash in between delays them by `patience`.
    """
    with db.write() as connection:
        sendable = _sendable(run_id, queue, now, patience).limit(limit + MAX_GROUP * bool(starts))
        named = sendable.join(EXAMPLES, EXAMPLES.c.id == UNITS.c.example_id).add_columns(
            UNITS.c.split, EXAMPLES.c.row
        )
        units = connection.execute(named).all()
        augmentations = (unit for unit in units[limit:] if unit.stage == "augment")
        units = [*units[:limit], *takewhile(lambda unit: unit.id not in starts, augmentations)]
        if units:
            connection.execute(
                update(UNITS).where(UNITS.c.id.in_([unit.id for unit in units])).values(sent_at=now)
            )
    return [(unit.id, unit.stage, f"{unit.split}/{unit.row}") for unit in units]


def has_sendable(db: Database, run_id: str, queue: str, now: float, patience: float) -> bool:
    with db.read() as connection:
        return connection.execute(_sendable(run_id, queue, now, patience).limit(1)).first() is not None


def open_barrier(db: Database, run: Run) -> bool:
    """Release the units that wait for exemplars once every train unit is final; True if this call did it."""
    with db.read() as connection:
        if _barrier_is_open(connection, run.id) or _has_open(connection, run.id, schema.TRAIN):
            return False
    behind = [cell.name for cell in cells(run.experiment) if cell.shots]
    met = and_(UNITS.c.state == schema.WAITING, UNITS.c.needs <= 1)
    with db.write() as connection:
        opened = connection.execute(
            update(RUNS).where(RUNS.c.id == run.id, RUNS.c.barrier_open.is_(False)).values(barrier_open=True)
        ).rowcount
        if opened and behind:
            connection.execute(
                update(UNITS)
                .where(
                    UNITS.c.run_id == run.id,
                    UNITS.c.stage == "answer",
                    UNITS.c.variant.in_(behind),
                    UNITS.c.state.in_((schema.WAITING, schema.SKIPPED)),
                )
                .values(needs=UNITS.c.needs - 1, state=case((met, schema.READY), else_=UNITS.c.state))
            )
    return bool(opened)


def open_rounds(db: Database, run: Run) -> int:
    """Release the units of each round whose predecessor is final, and return how many.

    Calling it again is harmless: a unit that waits only for its round has one need left.
    """
    freed = 0
    for number in range(2, round_count(run.experiment) + 1):
        if _has_open_among(db, run.id, units_of_round(run.experiment, number - 1)):
            break
        stage, variant = round_start(run.experiment, number)
        waiting = (
            UNITS.c.run_id == run.id,
            UNITS.c.split == schema.TRAIN,
            UNITS.c.state == schema.WAITING,
            UNITS.c.stage == stage,
            UNITS.c.variant == variant,
            UNITS.c.needs <= 1,
        )
        with db.read() as connection:
            if not connection.execute(select(exists().where(*waiting))).scalar_one():
                continue
        with db.write() as connection:
            release = update(UNITS).where(*waiting).values(needs=0, state=schema.READY)
            freed += connection.execute(release).rowcount
    return freed


def finish_run(db: Database, run_id: str, now: float) -> bool:
    """Mark the run as finished if every unit is final; return True if so."""
    with db.read() as connection:
        if _has_open(connection, run_id, None):
            return False
    with db.write() as connection:
        # Checked again under the lock that a retry takes too, since a retry makes units ready.
        connection.execute(select(RUNS.c.id).where(RUNS.c.id == run_id).with_for_update())
        if _has_open(connection, run_id, None):
            return False
        connection.execute(
            update(RUNS)
            .where(RUNS.c.id == run_id, RUNS.c.state == schema.RUNNING)
            .values(state=schema.FINISHED, finished_at=now, message="")
        )
    return True


def _sendable(run_id: str, queue: str, now: float, patience: float) -> Select[Any]:
    return (
        select(UNITS.c.id, UNITS.c.stage)
        .where(
            UNITS.c.run_id == run_id,
            UNITS.c.queue == queue,
            UNITS.c.state == schema.READY,
            or_(UNITS.c.lease_until.is_(None), UNITS.c.lease_until < now),
            or_(UNITS.c.sent_at.is_(None), UNITS.c.sent_at < now - patience),
        )
        .order_by(UNITS.c.id)
    )


def _has_open_among(db: Database, run_id: str, variants: Mapping[Stage, Sequence[str]]) -> bool:
    """Return True if a train unit of these variants, by stage, is not final."""
    of_run = (UNITS.c.run_id == run_id, UNITS.c.split == schema.TRAIN)
    open_units = [
        exists().where(*of_run, UNITS.c.state == state, UNITS.c.stage == stage, UNITS.c.variant.in_(names))
        for stage, names in variants.items()
        for state in schema.OPEN
    ]
    with db.read() as connection:
        return bool(connection.execute(select(or_(*open_units))).scalar_one())


def _barrier_is_open(connection: Connection, run_id: str) -> bool:
    query = select(RUNS.c.barrier_open).where(RUNS.c.id == run_id)
    return bool(connection.execute(query).scalar_one())


def _has_open(connection: Connection, run_id: str, split: str | None) -> bool:
    """Return True if a unit is not final. A query per state lets the index answer without counting."""
    open_units = [
        exists().where(UNITS.c.run_id == run_id, UNITS.c.split == each, UNITS.c.state == state)
        for each in ((split,) if split else (schema.TRAIN, schema.TEST))
        for state in schema.OPEN
    ]
    return bool(connection.execute(select(or_(*open_units))).scalar_one())


def in_flight(db: Database, now: float) -> dict[tuple[str, str], int]:
    """Count claimed units by (queue, run)."""
    group = (UNITS.c.queue, UNITS.c.run_id)
    query = (
        select(*group, func.count())
        .where(
            # Two ranges of the index exclude units that await a batch without reading them.
            or_(UNITS.c.lease_owner < schema.BATCH, UNITS.c.lease_owner > schema.BATCH),
            UNITS.c.lease_until >= now,
            UNITS.c.state == schema.READY,
        )
        .group_by(*group)
    )
    with db.read() as connection:
        return {(queue, run): int(number) for queue, run, number in connection.execute(query)}


def demand_by_run(db: Database, queue: str, limit: int) -> dict[str, int]:
    """Count the ready units of each running run in this queue, claimed or not, up to `limit` a run.

    The limit keeps the query cheap for a run of a million units.
    """
    ready = (
        select(literal(1))
        .where(
            UNITS.c.run_id == RUNS.c.id,
            UNITS.c.queue == queue,
            UNITS.c.state == schema.READY,
            or_(UNITS.c.lease_owner.is_(None), UNITS.c.lease_owner != schema.BATCH),
        )
        .correlate(RUNS)
        .limit(limit)
        .subquery()
    )
    number = select(func.count()).select_from(ready).scalar_subquery()
    with db.read() as connection:
        demands = connection.execute(select(RUNS.c.id, number).where(RUNS.c.state == schema.RUNNING))
        return {run: int(count) for run, count in demands}


def unclaimed_units(db: Database, unit_ids: Sequence[int], now: float) -> set[int]:
    """Return the units that no worker has claimed."""
    query = select(UNITS.c.id).where(
        UNITS.c.id.in_(unit_ids),
        UNITS.c.state == schema.READY,
        or_(UNITS.c.lease_until.is_(None), UNITS.c.lease_until < now),
    )
    with db.read() as connection:
        return set(connection.scalars(query))
