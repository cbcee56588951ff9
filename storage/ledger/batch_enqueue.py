"""Calls that are enqueued for a batch, and the units that await them.

Both have the owner `batch`, whose lease never ends: only `release_unqueued` and `storage.ledger.batches` free
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, exists, func, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from storage.database import Database
from storage.ledger.claims import ClaimedUnit
from storage.ledger.leases import call_is_free
from storage.ledger.purchases import Busy, CallClaim, ReserveResult, completion_of_row, reserve_budget
from storage.schema import BATCH, EXAMPLES, GENERATIONS, READY, UNITS

# A literal, not a bound value: a partial index serves only queries whose text repeats its condition.
AWAITING_BATCH = UNITS.c.lease_owner == literal_column("'batch'")
ENQUEUED = and_(GENERATIONS.c.lease_owner == literal_column("'batch'"), GENERATIONS.c.done.is_(False))


@dataclass(frozen=True, slots=True)
class BatchRefusal:
    """The provider's final refusal of a call; `reason` is `bad_request` or `context_overflow`."""

    reason: str
    detail: str


def enqueue_for_batch(
    db: Database, owner: str, units: Sequence[ClaimedUnit], call: CallClaim, now: float
) -> ReserveResult | BatchRefusal:
    """Enqueue the call of `units`, in the order of their requests, and let those that `owner` holds await it.

    Return None in that case, also if the call was enqueued before. Otherwise return the stored answer; the
    refusal of the call that the units awaited; Busy while a worker buys the call; or OverBudget.
    """
    first, request, key = units[0], call.request, call.request.key
    row: dict[str, Any] = {
        "key": key, "run_id": first.run_id, "unit_id": first.unit_id, "stage": first.stage,
        "model": request.model, "done": False, "lease_owner": BATCH,
        "request": request.body(), "members": [unit.unit_id for unit in units],
        "batch": None, "finish_reason": None, "refusal": None,
        "prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0,
        "cost_nano_usd": call.reservation, "created_at": now,
    }  # fmt: skip
    dialect = sqlite if db.is_sqlite else postgresql
    insert = dialect.insert(GENERATIONS).values(row)
    free = call_is_free(now)
    if first.generation == key:
        # Units that awaited the call get its refusal; others, such as a retry, may enqueue it again.
        free = and_(free, GENERATIONS.c.finish_reason.is_(None))
    values: dict[str, Any] = {name: insert.excluded[name] for name in row if name != "key"}
    # `units` may be only a part of those that the call was first made for.
    values["members"] = func.coalesce(GENERATIONS.c.members, insert.excluded["members"])
    statement = insert.on_conflict_do_update(index_elements=["key"], set_=values, where=free)
    with db.write() as connection:
        is_new = connection.execute(statement.returning(GENERATIONS.c.key)).one_or_none()
        if is_new and (refused := reserve_budget(connection, [call], now)):
            return refused[key]
        # The lock keeps an answer from arriving before the units await it.
        current = connection.execute(
            select(GENERATIONS).where(GENERATIONS.c.key == key).with_for_update()
        ).one_or_none()
        if current is None:
            return Busy()
        if current.done:
            return completion_of_row(current)
        if current.lease_owner != BATCH:
            if current.finish_reason is None:
                return Busy()
            return BatchRefusal(current.finish_reason, current.refusal or "")
        _set_awaiting(connection, owner, [unit.unit_id for unit in units], key)
    return None


def requests_of_call(db: Database, key: str) -> list[str]:
    """Return the requests of all units of an enqueued call, in its order; none if it is not enqueued."""
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
    """Free the units of a run whose awaited call is no longer enqueued, and return how many.

    The call was answered, refused, or taken over by a worker while the run was not fed.
    """
    waits = exists().where(GENERATIONS.c.key == UNITS.c.generation, ENQUEUED)
    with db.write() as connection:
        return connection.execute(_release_statement().where(UNITS.c.run_id == run_id, ~waits)).rowcount


def release_awaiting(connection: Connection, keys: Sequence[str]) -> None:
    """Free the units of all runs that await these calls; the feeder sends them again at once."""
    connection.execute(_release_statement().where(UNITS.c.generation.in_(keys)))


def _release_statement() -> Any:
    return update(UNITS).where(AWAITING_BATCH, UNITS.c.state == READY).values(lease_owner=None, sent_at=None)


def _set_awaiting(connection: Connection, owner: str, unit_ids: Sequence[int], key: str) -> None:
    """Let units await a call. Their claim does not count, since it did not fail."""
    connection.execute(
        update(UNITS)
        .where(UNITS.c.id.in_(unit_ids), UNITS.c.lease_owner == owner, UNITS.c.state == READY)
        .values(lease_owner=BATCH, generation=key, attempts=UNITS.c.attempts - 1)
    )
