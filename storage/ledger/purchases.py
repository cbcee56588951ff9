"""Model calls are bought once: looked up by the hash of the request, and reserved before they are made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, exists, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from models.core.answers.cleaning import clean_completion
from models.core.experiment.endpoints import Price
from models.core.types import Completion, Request, Usage
from storage.database import Database
from storage.ledger import budget
from storage.ledger.budget import BudgetRefusal
from storage.ledger.claims import ClaimedUnit
from storage.schema import BATCH, GENERATIONS, RUNNING, RUNS


@dataclass(frozen=True, slots=True)
class CallClaim:
    """A request that a unit wants answered.

    The run's budget sets `reservation` aside until the price is known, in billionths of a dollar; 0 without
    a budget.
    """

    unit: ClaimedUnit
    request: Request
    reservation: int = 0


@dataclass(frozen=True, slots=True)
class Purchase:
    """An answer that is paid for and not yet in the ledger. `seconds` is the call's latency."""

    request: Request
    completion: Completion
    cost_nano_usd: int
    seconds: float
    reservation: int = 0


@dataclass(frozen=True, slots=True)
class Busy:
    """Ask again later: another unit is buying the answer, or calls in flight reserve the whole budget."""


@dataclass(frozen=True, slots=True)
class OverBudget:
    """The run's budget does not allow this call, even if calls in flight turn out to be free."""


ReserveResult = Completion | Busy | OverBudget | None


def cost_nano_usd(usage: Usage, price: Price) -> int:
    """Return the cost in billionths of a dollar, rounded once at the end.

    cost = (prompt - cached) * input + cached * cached_input + completion * output
    """
    cached_input = price.input if price.cached_input is None else price.cached_input
    dollars_per_million = (
        (usage.prompt - usage.cached, price.input),
        (usage.cached, cached_input),
        (usage.completion, price.output),
    )
    return round(sum(tokens * Decimal(str(dollars)) * 1000 for tokens, dollars in dollars_per_million))


def reserve(
    db: Database, owner: str, calls: Sequence[CallClaim], now: float, lease: float
) -> list[ReserveResult]:
    """Return the stored answer, Busy or OverBudget for each call; None if the caller owns the purchase now.

    If several calls have one key, the first owns it.
    """
    first: dict[str, CallClaim] = {}
    for call in calls:
        first.setdefault(call.request.key, call)
    rows = [_reservation_row(owner, first[key], now, lease) for key in sorted(first)]
    with db.write() as connection:
        owned = set(connection.scalars(_reserve_statement(db.is_sqlite), rows))
        others = [key for key in first if key not in owned]
        stored = {row.key: row for row in connection.execute(_STORED, {"keys": others})} if others else {}
        ours = [call for key, call in first.items() if key in owned]
        refused = reserve_budget(connection, ours, now)
    results: list[ReserveResult] = []
    for call in calls:
        key = call.request.key
        if key in refused:
            results.append(refused[key])
        elif key in owned and first[key] is call:
            results.append(None)
        else:
            results.append(_answer(stored.get(key)))
    return results


def completion_of_row(row: Any) -> Completion:
    """Return the answer in the row of a generation that is done, clean also if an older release stored it."""
    usage = Usage(
        row.prompt_tokens, row.cached_tokens, row.completion_tokens, row.reasoning_tokens, row.estimated
    )
    return clean_completion(Completion(row.answer, row.finish_reason, usage, row.refusal, row.reasoning))


def answer_columns(completion: Completion) -> dict[str, Any]:
    """Return the columns of a generation that hold an answer."""
    usage = completion.usage
    return {
        "answer": completion.text, "refusal": completion.refusal, "reasoning": completion.reasoning,
        "finish_reason": completion.finish_reason[:32], "prompt_tokens": usage.prompt,
        "cached_tokens": usage.cached, "completion_tokens": usage.completion,
        "reasoning_tokens": usage.reasoning, "estimated": usage.estimated,
    }  # fmt: skip


def may_be_bought(db: Database, owner: str, key: str, run_id: str) -> bool:
    """Return True if the run is running and the call is still reserved for `owner` and not bought."""
    ours = exists().where(
        GENERATIONS.c.key == key, GENERATIONS.c.lease_owner == owner, GENERATIONS.c.done.is_(False)
    )
    query = select(RUNS.c.id).where(RUNS.c.id == run_id, RUNS.c.state == RUNNING, ours)
    with db.read() as connection:
        return connection.execute(query).first() is not None


def abandon(db: Database, owner: str, key: str, lost: int = 0, run_id: str = "") -> None:
    """Drop the reservation of a call without an answer, so that others can buy it at once. `lost` is what the
    call may have cost its run, in billionths of a dollar."""
    with db.write() as connection:
        gone = connection.execute(_ABANDON, {"of_key": key, "owner": owner}).one_or_none()
        if gone:
            budget.add_unanswered(connection, gone.run_id, gone.cost_nano_usd, lost)
        elif lost:  # another worker holds the reservation since
            budget.add_unanswered(connection, run_id, 0, lost)


def record_purchase(
    connection: Connection, bought: Iterable[tuple[ClaimedUnit, Purchase]], now: float
) -> None:
    """Store answers, usage and cost, in the transaction of the units that asked.

    A stored answer is never replaced: if a lease expired during a call and the answer was bought twice, all
    rows built on the first one stay true.
    """
    purchases = {purchase.request.key: (unit, purchase) for unit, purchase in bought}
    if not purchases:
        return
    rows = [_purchase_row(*purchases[key], now) for key in sorted(purchases)]
    connection.execute(_record_statement(connection.dialect.name == "sqlite"), rows)
    differences: defaultdict[str, int] = defaultdict(int)
    for unit, purchase in purchases.values():
        if purchase.reservation:
            differences[unit.run_id] += purchase.cost_nano_usd - purchase.reservation
    budget.settle(connection, differences)


def reserve_budget(
    connection: Connection, owned: Sequence[CallClaim], now: float
) -> dict[str, Busy | OverBudget]:
    """Set aside what newly reserved calls may cost.

    Delete the reservations that the budget does not allow, and return what to tell their units.
    """
    costs: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for call in owned:
        if call.reservation:
            costs[call.unit.run_id].append((call.request.key, call.reservation))
    refused = budget.reserve(connection, costs, now)
    if refused:
        connection.execute(delete(GENERATIONS).where(GENERATIONS.c.key.in_(list(refused))))
    return {
        key: OverBudget() if refusal is BudgetRefusal.FOR_GOOD else Busy() for key, refusal in refused.items()
    }


def _reservation_row(owner: str, call: CallClaim, now: float, lease: float) -> dict[str, Any]:
    return {
        "key": call.request.key, "run_id": call.unit.run_id, "unit_id": call.unit.unit_id,
        "stage": call.unit.stage, "model": call.request.model, "done": False, "lease_owner": owner,
        "lease_until": now + lease, "prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0,
        "cost_nano_usd": call.reservation, "created_at": now,
    }  # fmt: skip


def _purchase_row(unit: ClaimedUnit, purchase: Purchase, now: float) -> dict[str, Any]:
    request, completion = purchase.request, purchase.completion
    return {
        "key": request.key, "run_id": unit.run_id, "unit_id": unit.unit_id, "stage": unit.stage,
        "model": request.model, "done": True, "lease_owner": None, "lease_until": None,
        "request": request.body(), "cost_nano_usd": purchase.cost_nano_usd,
        "seconds": purchase.seconds, "created_at": now, **answer_columns(completion),
    }  # fmt: skip


def _answer(row: Any) -> Completion | Busy:
    return completion_of_row(row) if row is not None and row.done else Busy()


_STORED = select(GENERATIONS).where(GENERATIONS.c.key.in_(bindparam("keys", expanding=True)))
_ABANDON = (
    delete(GENERATIONS)
    .where(
        GENERATIONS.c.key == bindparam("of_key"),
        GENERATIONS.c.lease_owner == bindparam("owner"),
        GENERATIONS.c.done.is_(False),
    )
    .returning(GENERATIONS.c.run_id, GENERATIONS.c.cost_nano_usd)
)


@cache
def _reserve_statement(is_sqlite: bool) -> Any:
    insert = (sqlite if is_sqlite else postgresql).insert(GENERATIONS)
    renewed = ("run_id", "unit_id", "stage", "lease_owner", "lease_until", "cost_nano_usd", "created_at")
    # `created_at` is the time of the reservation: a lease that ended earlier has expired.
    now = insert.excluded.created_at
    # Nobody fetches the answers of a batch while its run is not fed: waiting for them would never end.
    fetched = exists().where(RUNS.c.id == GENERATIONS.c.run_id, RUNS.c.feeder_until >= now)
    unfetched = and_(GENERATIONS.c.lease_owner == BATCH, ~fetched)
    abandoned = and_(GENERATIONS.c.done.is_(False), or_(GENERATIONS.c.lease_until < now, unfetched))
    return insert.on_conflict_do_update(
        index_elements=["key"], set_={name: insert.excluded[name] for name in renewed}, where=abandoned
    ).returning(GENERATIONS.c.key)


@cache
def _record_statement(is_sqlite: bool) -> Any:
    insert = (sqlite if is_sqlite else postgresql).insert(GENERATIONS)
    updated = {column.name: insert.excluded[column.name] for column in GENERATIONS.c if column.name != "key"}
    return insert.on_conflict_do_update(
        index_elements=["key"], set_=updated, where=GENERATIONS.c.done.is_(False)
    )
