"""The end of a unit: its result, its purchase and the release of its dependants, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, bindparam, insert, null, select, update

from models.core.pipeline.graph import Step
from models.core.types import Completion, Rejection, Usage
from storage.database import Database
from storage.ledger import budget
from storage.ledger.claims import ClaimedUnit
from storage.ledger.dependants import DependantKey, SkippedUnit, release_dependants, skip_dependants
from storage.ledger.purchases import Purchase, record_purchase
from storage.schema import DONE, FAILED, READY, REJECTIONS, SKIPPED, UNITS

# The reason of a unit, and the finish reason of an answer, that the database refuses to store.
NOT_STORABLE = "not_storable"
# The columns hold no more.
MAX_TOKENS = 2**31 - 1
MAX_NANO_USD = 2**62


@dataclass(frozen=True, slots=True)
class UnitOutcome:
    """The end of a unit: a `result`, or the `reason` and `detail` of its failure; with both, a stand-in.

    `rejection` is the last answer that was not accepted, if the unit failed for it. `dependants` are the
    steps of the same example that need one step less; `skips` are those that will not happen, and
    `skip_reason` is `already_correct` or `upstream_failed`; `votes` go on without those that they gather.
    `skipped`: the unit's own condition was false.
    """

    unit: ClaimedUnit
    result: dict[str, Any] | None = None
    reason: str | None = None
    detail: str | None = None
    purchase: Purchase | None = None
    rejection: Rejection | None = None
    generation: str | None = None
    dependants: Sequence[Step] = field(default_factory=tuple)
    skips: Sequence[Step] = field(default_factory=tuple)
    skip_reason: str = ""
    votes: Mapping[Step, Sequence[Step]] = field(default_factory=dict)
    skipped: bool = False


def finish_units(db: Database, outcomes: Sequence[UnitOutcome], now: float) -> int:
    """Store outcomes and return how many were new.

    A unit that is already final, or that another worker has claimed since, stays as it is; what was bought
    for it is stored.
    """
    with db.write() as connection:
        # One order everywhere, so that two transactions never wait for each other.
        ordered = sorted(outcomes, key=lambda outcome: outcome.unit.unit_id)
        bought = ((each.unit, each.purchase) for each in ordered if each.purchase)
        unsettled = record_purchase(connection, bought, now)
        new = _first_outcomes(connection, ordered)
        for outcome in new:
            if outcome.rejection:
                unit = outcome.unit
                _record(connection, unit, outcome.rejection, unit.rejections, outcome.generation, now)
        if new:
            connection.execute(_END, [_end(outcome, now) for outcome in new])
        release_dependants(connection, (_key(each.unit, step) for each in new for step in each.dependants))
        skips = (
            SkippedUnit(_key(each.unit, step), each.skip_reason, each.votes.get(step, ()))
            for each in new
            for step in each.skips
        )
        skip_dependants(connection, skips, now)
        # Last, since all workers of a run wait for its row.
        budget.settle(connection, unsettled)
        return len(new)


def record_rejection(db: Database, unit: ClaimedUnit, rejection: Rejection, attempt: int, generation: str,
           purchase: Purchase | None, now: float) -> None:  # fmt: skip
    """Record an answer that is not accepted; the unit goes on. Recording it twice changes nothing, nor does
    recording it for a unit that another worker has claimed since."""
    with db.write() as connection:
        unsettled = record_purchase(connection, [(unit, purchase)] if purchase else [], now)
        _record(connection, unit, rejection, attempt, generation, now)
        budget.settle(connection, unsettled)


def keep_purchase(db: Database, unit: ClaimedUnit, purchase: Purchase, now: float) -> None:
    """Store an answer that was paid for, even if its unit is lost."""
    with db.write() as connection:
        budget.settle(connection, record_purchase(connection, [(unit, purchase)], now))


def without_answer(purchase: Purchase) -> Purchase:
    """Return the purchase as any database can store it: its price and usage, without what was answered."""
    usage = purchase.completion.usage
    counts = {
        name: min(max(0, getattr(usage, name)), MAX_TOKENS) for name in ("prompt", "cached", "completion")
    }
    cost = min(max(0, purchase.cost_nano_usd), MAX_NANO_USD)
    return replace(purchase, completion=Completion(None, NOT_STORABLE, Usage(**counts)), cost_nano_usd=cost)


def _first_outcomes(connection: Connection, outcomes: Sequence[UnitOutcome]) -> list[UnitOutcome]:
    """Return one outcome for each unit that is still open and its owner's, and lock these units."""
    unit_ids = [outcome.unit.unit_id for outcome in outcomes]
    still_open = connection.execute(_STILL_OPEN, {"unit_ids": unit_ids}).all()
    first = {outcome.unit.unit_id: outcome for outcome in reversed(outcomes)}
    return [first[row.id] for row in still_open if first[row.id].unit.owner == row.lease_owner]


def _end(outcome: UnitOutcome, now: float) -> dict[str, Any]:
    return {
        "of_unit": outcome.unit.unit_id,
        "new_state": _state(outcome),
        "new_result": outcome.result,
        "new_reason": outcome.reason,
        "new_detail": outcome.detail,
        "new_generation": outcome.generation,
        "now": now,
    }


def _state(outcome: UnitOutcome) -> str:
    if outcome.skipped:
        return SKIPPED
    return DONE if outcome.result is not None else FAILED


def _key(unit: ClaimedUnit, step: Step) -> DependantKey:
    return DependantKey(unit.run_id, unit.example_id, step)


def _record(connection: Connection, unit: ClaimedUnit, rejection: Rejection, attempt: int,
            generation: str | None, now: float) -> None:  # fmt: skip
    """Count the rejection, so that the next attempt has another number and asks again."""
    counted = {"of_unit": unit.unit_id, "of_owner": unit.owner, "of_attempt": attempt}
    if connection.execute(_COUNT_REJECTION, counted).rowcount:
        connection.execute(
            _INSERT_REJECTION,
            {
                "unit_id": unit.unit_id, "attempt": attempt, "run_id": unit.run_id, "stage": unit.stage,
                "reason": rejection.reason, "detail": rejection.detail, "generation": generation,
                "created_at": now,
            },
        )  # fmt: skip


_STILL_OPEN = (
    select(UNITS.c.id, UNITS.c.lease_owner)
    .where(UNITS.c.id.in_(bindparam("unit_ids", expanding=True)), UNITS.c.state == READY)
    .order_by(UNITS.c.id)
    .with_for_update()
)
_END = (
    update(UNITS)
    .where(UNITS.c.id == bindparam("of_unit"))
    .values(
        state=bindparam("new_state"), result=bindparam("new_result"), reason=bindparam("new_reason"),
        detail=bindparam("new_detail"), generation=bindparam("new_generation"),
        finished_at=bindparam("now"), worker=UNITS.c.lease_owner, lease_owner=null(),
    )
)  # fmt: skip
_COUNT_REJECTION = (
    update(UNITS)
    .where(
        UNITS.c.id == bindparam("of_unit"),
        UNITS.c.lease_owner == bindparam("of_owner"),
        UNITS.c.rejections == bindparam("of_attempt"),
    )
    .values(rejections=UNITS.c.rejections + 1)
)
_INSERT_REJECTION = insert(REJECTIONS)
