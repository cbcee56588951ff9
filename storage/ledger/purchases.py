"""Model calls are bought once: looked up by the hash of the request, and reserved before they are made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import Connection, Float, String, and_, bindparam, delete, exists, literal_column, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from models.core.answers.cleaning import clean_completion
from models.core.experiment.endpoints import Price
from models.core.types import Completion, Request, Usage
from storage.database import Database
from storage.ledger import budget
from storage.ledger.budget import BudgetRefusal
from storage.ledger.claims import ClaimedUnit
from storage.ledger.counters import add_spending
from storage.ledger.leases import call_is_free
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
# Those of a generation that was bought by a worker: all but those of batches.
PURCHASE_COLUMNS = tuple(column.name for column in GENERATIONS.c if column.name not in ("batch", "members"))


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


def reserve(db: Database, owner: str, calls: Sequence[CallClaim], now: float) -> list[ReserveResult]:
    """Return the stored answer, Busy or OverBudget for each call; None if the caller owns the purchase now.

    If several calls have one key, the first owns it. It does so while `owner` holds the unit.
    """
    first: dict[str, CallClaim] = {}
    for call in calls:
        first.setdefault(call.request.key, call)
    rows = [_reservation_row(owner, first[key], now) for key in sorted(first)]
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
    answer = Completion(row.answer, row.finish_reason, usage, row.refusal, row.reasoning, row.served)
    return clean_completion(answer)


def answer_columns(completion: Completion) -> dict[str, Any]:
    """Return the columns of a generation that hold an answer."""
    usage = completion.usage
    return {
        "answer": completion.text, "refusal": completion.refusal, "reasoning": completion.reasoning,
        "finish_reason": completion.finish_reason[:32], "prompt_tokens": usage.prompt,
        "cached_tokens": usage.cached, "completion_tokens": usage.completion,
        "reasoning_tokens": usage.reasoning, "estimated": usage.estimated, "served": completion.served,
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
) -> dict[str, int]:
    """Store answers, usage and cost, in the transaction of the units that asked, and return what is still to
    be settled of the budget of each run.

    A stored answer is never replaced: if a lease expired during a call and the answer was bought twice, all
    rows built on the first one stay true.
    """
    purchases = {purchase.request.key: (unit, purchase) for unit, purchase in bought}
    if not purchases:
        return {}
    _store(connection, (purchase_row(*each, now) for each in purchases.values()))
    differences: defaultdict[str, int] = defaultdict(int)
    for unit, purchase in purchases.values():
        if purchase.reservation:
            differences[unit.run_id] += purchase.cost_nano_usd - purchase.reservation
    return differences


def purchase_row(unit: ClaimedUnit, purchase: Purchase, now: float) -> dict[str, Any]:
    """Return the row of a bought generation. It is all JSON."""
    request, completion = purchase.request, purchase.completion
    return {
        "key": request.key, "run_id": unit.run_id, "unit_id": unit.unit_id, "stage": unit.stage,
        "model": request.model, "done": True, "lease_owner": None,
        "request": request.body(), "cost_nano_usd": purchase.cost_nano_usd,
        "seconds": purchase.seconds, "created_at": now, **answer_columns(completion),
    }  # fmt: skip


def take_in(db: Database, rows: Iterable[dict[str, Any]], now: float) -> None:
    """Store bought generations whose worker ended before it could; those that are stored already stay.

    The reservations of their worker end, and their cost counts in the budgets of their runs.
    """
    by_key = {row["key"]: row for row in rows}
    with db.write() as connection:
        _store(connection, by_key.values())
        budget.recount(connection, {row["run_id"] for row in by_key.values()}, now)


def _store(connection: Connection, generations: Iterable[dict[str, Any]]) -> None:
    """Store bought generations, and count those that were not stored before."""
    rows = {row["key"]: row for row in generations}
    statement = _record_statement(connection.dialect.name == "sqlite")
    stored = connection.scalars(statement, [rows[key] for key in sorted(rows)])
    add_spending(connection, (rows[key] for key in stored))


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


def _reservation_row(owner: str, call: CallClaim, now: float) -> dict[str, Any]:
    return {
        "key": call.request.key, "run_id": call.unit.run_id, "unit_id": call.unit.unit_id,
        "stage": call.unit.stage, "model": call.request.model, "done": False, "lease_owner": owner,
        "prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0,
        "cost_nano_usd": call.reservation, "created_at": now,
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
    renewed = ("run_id", "unit_id", "stage", "lease_owner", "cost_nano_usd", "created_at")
    # The row that is there, and the new one, by their names: no subquery may name their table anew.
    run_id, now = literal_column("generation.run_id", String), literal_column("excluded.created_at", Float)
    # Nobody fetches the answers of a batch while its run is not fed: waiting for them would never end.
    fetched = exists(RUNS.c.id).where(RUNS.c.id == run_id, RUNS.c.feeder_until >= now)
    unfetched = and_(GENERATIONS.c.done.is_(False), GENERATIONS.c.lease_owner == BATCH, ~fetched)
    return insert.on_conflict_do_update(
        index_elements=["key"],
        set_={name: insert.excluded[name] for name in renewed},
        where=or_(call_is_free(now), unfetched),
    ).returning(GENERATIONS.c.key)


@cache
def _record_statement(is_sqlite: bool) -> Any:
    insert = (sqlite if is_sqlite else postgresql).insert(GENERATIONS)
    updated = {column.name: insert.excluded[column.name] for column in GENERATIONS.c if column.name != "key"}
    return insert.on_conflict_do_update(
        index_elements=["key"], set_=updated, where=GENERATIONS.c.done.is_(False)
    ).returning(GENERATIONS.c.key)
