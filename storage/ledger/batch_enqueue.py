"""Calls that wait to be part of a batch: filed in the ledger, the units that need them parked beside them.

A filed call and a parked unit are under a lease without an end, so nobody claims, extends or frees them
but `wake` and `storage.ledger.batches`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, exists, func, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from storage.database import Database
from storage.ledger.claims import ClaimedUnit
from storage.ledger.purchases import Busy, CallClaim, ReserveResult, completion_of_row, reserve_budget
from storage.schema import BATCH, EXAMPLES, FOREVER, GENERATIONS, READY, UNITS

# Written out, not bound: an index of some rows serves only queries that name those rows in their text.
AWAITING_BATCH = UNITS.c.lease_owner == literal_column("'batch'")
ENQUEUED = and_(GENERATIONS.c.lease_owner == literal_column("'batch'"), GENERATIONS.c.done.is_(False))


@dataclass(frozen=True, slots=True)
class BatchRefusal:
    """The provider refuses a call for good; `reason` is `bad_request` or `context_overflow`."""

    reason: str
    detail: str


def enqueue_for_batch(
    db: Database, owner: str, units: Sequence[ClaimedUnit], call: CallClaim, now: float
) -> ReserveResult | BatchRefusal:
    """The stored answer; or the Refusal of the call that `units` waited for; or Busy, while a worker buys
    it; or OverBudget; or None: the call is filed, now or before, and the units of `units` that `owner`
    holds are parked.

    `units` are the units that one call is asked for, in the order of their requests.
    """
    first, request, key = units[0], call.request, call.request.key
    row: dict[str, Any] = {
        "key": key, "run_id": first.run_id, "unit_id": first.unit_id, "stage": first.stage,
        "model": request.model, "done": False, "lease_owner": BATCH, "lease_until": FOREVER,
        "request": request.body(), "members": [unit.unit_id for unit in units],
        "batch": None, "finish_reason": None, "refusal": None,
        "prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0,
        "cost_nano_usd": call.hold, "created_at": now,
    }  # fmt: skip
    dialect = sqlite if db.is_sqlite else postgresql
    insert = dialect.insert(GENERATIONS).values(row)
    free = and_(GENERATIONS.c.done.is_(False), GENERATIONS.c.lease_until < now)
    if first.generation == key:
        # Who waited hears the refusal; whoever asks anew, a retry say, may file the call again.
        free = and_(free, GENERATIONS.c.finish_reason.is_(None))
    values: dict[str, Any] = {name: insert.excluded[name] for name in row if name != "key"}
    # `units` may be the rest of those that it was first asked for.
    values["members"] = func.coalesce(GENERATIONS.c.members, insert.excluded["members"])
    filed = insert.on_conflict_do_update(index_elements=["key"], set_=values, where=free)
    with db.write() as connection:
        is_new = connection.execute(filed.returning(GENERATIONS.c.key)).one_or_none()
        if is_new and (refused := reserve_budget(connection, [call], now)):
            return refused[key]
        # The lock keeps an answer from arriving between this look and the parking.
        found = connection.execute(
            select(GENERATIONS).where(GENERATIONS.c.key == key).with_for_update()
        ).one_or_none()
        if found is None:
            return Busy()
        if found.done:
            return completion_of_row(found)
        if found.lease_owner != BATCH:
            if found.finish_reason is None:
                return Busy()
            return BatchRefusal(found.finish_reason, found.refusal or "")
        _set_awaiting(connection, owner, [unit.unit_id for unit in units], key)
    return None


def requests_of_call(db: Database, key: str) -> list[str]:
    """The requests of all units that a filed call was asked for, in its order; none if it was not filed."""
    with db.read() as connection:
        members = connection.execute(
            select(GENERATIONS.c.members).where(GENERATIONS.c.key == key)
        ).scalar_one_or_none()
        if not members:
            return []
        query = (
            select(UNITS.c.id, EXAMPLES.c.request)
            .join(EXAMPLES, EXAMPLES.c.id == UNITS.c.example_id)
            .where(UNITS.c.id.in_(members))
        )
        requests = {row.id: row.request for row in connection.execute(query)}
    return [requests[unit_id] for unit_id in members]


def release_unqueued(db: Database, run_id: str) -> int:
    """Free the parked units of a run whose call is not filed any more; how many.

    It was answered, refused, or taken over by a worker while the run was not fed.
    """
    waits = exists().where(GENERATIONS.c.key == UNITS.c.generation, ENQUEUED)
    with db.write() as connection:
        return connection.execute(_release_statement().where(UNITS.c.run_id == run_id, ~waits)).rowcount


def release_awaiting(connection: Connection, keys: Sequence[str]) -> None:
    """Free the units of all runs that wait for these calls; the feeder sends them again at once."""
    connection.execute(_release_statement().where(UNITS.c.generation.in_(keys)))


def _release_statement() -> Any:
    return (
        update(UNITS)
        .where(AWAITING_BATCH, UNITS.c.state == READY)
        .values(lease_owner=None, lease_until=None, sent_at=None)
    )


def _set_awaiting(connection: Connection, owner: str, unit_ids: Sequence[int], key: str) -> None:
    """The claim does not count: a unit that waits has not failed its worker."""
    connection.execute(
        update(UNITS)
        .where(UNITS.c.id.in_(unit_ids), UNITS.c.lease_owner == owner, UNITS.c.state == READY)
        .values(lease_owner=BATCH, lease_until=FOREVER, generation=key, attempts=UNITS.c.attempts - 1)
    )
