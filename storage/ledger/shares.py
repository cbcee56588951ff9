"""What the runs have of each queue, and could have: feeders share the workers out by it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, literal, or_, select

from storage.database import Database
from storage.schema import BATCH, READY, RUNNING, RUNS, UNITS


def in_flight(db: Database, now: float) -> dict[tuple[str, str], int]:
    """Units in workers' hands by (queue, run)."""
    group = (UNITS.c.queue, UNITS.c.run_id)
    query = (
        select(*group, func.count())
        .where(
            # As two ranges, so that units whose calls are in a batch are not even looked at.
            or_(UNITS.c.lease_owner < BATCH, UNITS.c.lease_owner > BATCH),
            UNITS.c.lease_until >= now,
            UNITS.c.state == READY,
        )
        .group_by(*group)
    )
    with db.read() as connection:
        return {(queue, run): int(number) for queue, run, number in connection.execute(query)}


def demands(db: Database, queue: str, most: int) -> dict[str, int]:
    """Units of each running run that are in this queue, in workers' hands, or could be; counted up to
    `most`, so that a run of a million costs no more than another."""
    ready = (
        select(literal(1))
        .where(
            UNITS.c.run_id == RUNS.c.id,
            UNITS.c.queue == queue,
            UNITS.c.state == READY,
            or_(UNITS.c.lease_owner.is_(None), UNITS.c.lease_owner != BATCH),
        )
        .correlate(RUNS)
        .limit(most)
        .subquery()
    )
    number = select(func.count()).select_from(ready).scalar_subquery()
    with db.read() as connection:
        found = connection.execute(select(RUNS.c.id, number).where(RUNS.c.state == RUNNING))
        return {run: int(count) for run, count in found}


def still_waiting(db: Database, unit_ids: Sequence[int], now: float) -> set[int]:
    """Those that no worker has taken up."""
    query = select(UNITS.c.id).where(
        UNITS.c.id.in_(unit_ids),
        UNITS.c.state == READY,
        or_(UNITS.c.lease_until.is_(None), UNITS.c.lease_until < now),
    )
    with db.read() as connection:
        return set(connection.scalars(query))
