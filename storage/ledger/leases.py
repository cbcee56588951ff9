"""A worker process holds what it claimed while its lease is live: one row, which a heartbeat extends."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    String,
    and_,
    delete,
    exists,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from storage.database import Database
from storage.schema import BATCH, GENERATIONS, LEASES, READY, UNITS

# A statement sees the ledger as it was when it began: in it, the unit of a call that was reserved since may
# have no owner yet.
RESERVING_SECONDS = 2.0
# Columns of the call around a subquery; SQLAlchemy correlates none within ON CONFLICT.
_OWNER = literal_column("generation.lease_owner", String)
_UNIT = literal_column("generation.unit_id", BigInteger)
_PLANNER = "plan:"


def extend_lease(db: Database, owner: str, now: float, lease: float) -> None:
    """Begin or extend the lease of a worker, which is then live for `lease` seconds.

    The first time it also deletes the leases that have ended and under which nothing is claimed.
    """
    with db.write() as connection:
        own = update(LEASES).where(LEASES.c.owner == owner).values(expires_at=now + lease)
        if not connection.execute(own).rowcount:
            connection.execute(insert(LEASES).values(owner=owner, expires_at=now + lease))
            claimed = exists().where(UNITS.c.lease_owner == LEASES.c.owner)
            connection.execute(delete(LEASES).where(LEASES.c.expires_at < now, ~claimed))


def end_lease(db: Database, owner: str) -> None:
    """End the lease of a worker that stops, and give back its units. Their claims do not count."""
    with db.write() as connection:
        connection.execute(
            update(UNITS)
            .where(UNITS.c.lease_owner == owner, UNITS.c.state == READY)
            .values(lease_owner=None, sent_at=None, attempts=UNITS.c.attempts - 1)
        )
        connection.execute(delete(LEASES).where(LEASES.c.owner == owner))


def planner_name(run_id: str) -> str:
    """Return the name under which the planner of a run holds a lease until others see the run."""
    return _PLANNER + hashlib.sha256(run_id.encode()).hexdigest()[:32]


def live_planners(now: Any) -> Select[Any]:
    return live_owners(now).where(LEASES.c.owner.startswith(_PLANNER))


def live_owners(now: Any) -> Select[Any]:
    return select(LEASES.c.owner).where(LEASES.c.expires_at >= now)


def unit_is_held(now: Any) -> ColumnElement[bool]:
    """Return the condition that a worker holds a unit, or that it awaits a batch."""
    owner = UNITS.c.lease_owner
    return or_(owner == BATCH, owner.in_(live_owners(now)))


def unit_is_free(now: Any) -> ColumnElement[bool]:
    """Return the condition that nobody holds a unit: it has no owner, or the owner's lease has ended."""
    owner = UNITS.c.lease_owner
    return or_(owner.is_(None), and_(owner != BATCH, owner.not_in(live_owners(now))))


def call_is_free(now: Any) -> ColumnElement[bool]:
    """Return the condition that a call is not bought, and that its buyer's lease or its unit has ended."""
    owner = GENERATIONS.c.lease_owner
    held = exists(UNITS.c.id).where(
        UNITS.c.id == _UNIT,
        UNITS.c.lease_owner == _OWNER,
        LEASES.c.owner == UNITS.c.lease_owner,
        LEASES.c.expires_at >= now,
    )
    left = and_(owner != BATCH, GENERATIONS.c.created_at < now - RESERVING_SECONDS, ~held)
    return and_(GENERATIONS.c.done.is_(False), or_(owner.is_(None), left))
