"""`budget_usd`: the cost of a call is reserved before it and settled after it.

A run's `charged_nano_usd` is the price of what it bought, what calls without an answer may have cost, and the
reservations of calls in flight. A killed worker leaves its reservations behind: they are counted again when a
call seems too expensive.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from sqlalchemy import ColumnElement, Connection, bindparam, func, not_, or_, select, update

from storage.database import Database
from storage.ledger.leases import call_is_free
from storage.schema import GENERATIONS, RUNS, SPENDING

_RESERVE = (
    update(RUNS)
    .where(
        RUNS.c.id == bindparam("run"),
        or_(
            RUNS.c.budget_nano_usd.is_(None),
            RUNS.c.charged_nano_usd + bindparam("cost") <= RUNS.c.budget_nano_usd,
        ),
    )
    .values(charged_nano_usd=RUNS.c.charged_nano_usd + bindparam("cost"))
)
# What the run bought, by sums that the ledger keeps: a run of a million calls is not read for each refusal.
_BOUGHT = (
    select(func.coalesce(func.sum(SPENDING.c.cost_nano_usd), 0))
    .where(SPENDING.c.run_id == bindparam("run"))
    .scalar_subquery()
)
# True if the call would fit if the calls in flight cost nothing.
_FITS = select(_BOUGHT + bindparam("cost") + RUNS.c.unanswered_nano_usd <= RUNS.c.budget_nano_usd).where(
    RUNS.c.id == bindparam("run")
)
_ADJUST = (
    update(RUNS)
    .where(RUNS.c.id == bindparam("run"))
    .values(charged_nano_usd=RUNS.c.charged_nano_usd + bindparam("cost"))
)


@dataclass(frozen=True, slots=True)
class Budget:
    """Amounts in billionths of a dollar; `limit` is None without a `budget_usd`.

    `charged` is the price of what was bought, what calls without an answer may have cost (`unanswered`), and
    the reservations of calls in flight.
    """

    limit: int | None
    charged: int
    unanswered: int = 0


def read_budget(db: Database, run_id: str) -> Budget:
    columns = (RUNS.c.budget_nano_usd, RUNS.c.charged_nano_usd, RUNS.c.unanswered_nano_usd)
    query = select(*columns).where(RUNS.c.id == run_id)
    with db.read() as connection:
        return Budget(*connection.execute(query).one())


class BudgetRefusal(Enum):
    """A call may not be made until calls in flight are settled, or not at all."""

    UNTIL_SETTLED = "until settled"
    FOR_GOOD = "for good"


def reserve(
    connection: Connection, costs: Mapping[str, Sequence[tuple[str, int]]], now: float
) -> dict[str, BudgetRefusal]:
    """Charge (key, cost) of calls by run. Return the keys that the budget does not allow."""
    refused: dict[str, BudgetRefusal] = {}
    for run_id, calls in sorted(costs.items()):
        total = sum(cost for _, cost in calls)
        if connection.execute(_RESERVE, {"run": run_id, "cost": total}).rowcount:
            continue
        _recount(connection, run_id, [key for key, _ in calls], now)
        for key, cost in calls:
            if not connection.execute(_RESERVE, {"run": run_id, "cost": cost}).rowcount:
                fits = connection.execute(_FITS, {"run": run_id, "cost": cost}).scalar_one()
                refused[key] = BudgetRefusal.UNTIL_SETTLED if fits else BudgetRefusal.FOR_GOOD
    return refused


def settle(connection: Connection, differences: Mapping[str, int]) -> None:
    """Adjust what runs are charged, by run, in billionths of a dollar; negative if less was used."""
    for run_id, cost in sorted(differences.items()):
        if cost:
            connection.execute(_ADJUST, {"run": run_id, "cost": cost})


def add_unanswered(connection: Connection, run_id: str, reserved: int, lost: int) -> None:
    """Charge what a call without an answer may have cost, in place of its reservation."""
    # Without a budget nothing is reserved, and the sum is made when one is set.
    charged = lost - reserved
    connection.execute(
        update(RUNS)
        .where(RUNS.c.id == run_id)
        .values(
            charged_nano_usd=RUNS.c.charged_nano_usd + charged,
            unanswered_nano_usd=RUNS.c.unanswered_nano_usd + lost,
        )
    )


def charge_all(connection: Connection, run_id: str) -> None:
    """Charge all calls of a run, for a budget that is set later. Reservations of the dead are taken off when
    a call seems too expensive."""
    _charge(connection, run_id)


def recount(connection: Connection, run_ids: Collection[str], now: float) -> None:
    """Charge the runs that have a budget with what was bought and what calls in flight reserve."""
    limited = select(RUNS.c.id).where(RUNS.c.id.in_(run_ids), RUNS.c.budget_nano_usd.is_not(None))
    for run_id in connection.scalars(limited.order_by(RUNS.c.id)).all():
        _recount(connection, run_id, (), now)


def _recount(connection: Connection, run_id: str, without: Sequence[str], now: float) -> None:
    _charge(connection, run_id, GENERATIONS.c.key.not_in(without), not_(call_is_free(now)))


def _charge(connection: Connection, run_id: str, *in_flight: ColumnElement[bool]) -> None:
    """Charge what was bought and the reservations of calls that are `in_flight`."""
    # Locked before the sums: a statement that waits for a lock sums what was there before it waited.
    connection.execute(select(RUNS.c.id).where(RUNS.c.id == run_id).with_for_update())
    reserved = select(func.coalesce(func.sum(GENERATIONS.c.cost_nano_usd), 0)).where(
        GENERATIONS.c.run_id == run_id, GENERATIONS.c.done.is_(False), *in_flight
    )
    charged = _BOUGHT + reserved.scalar_subquery() + RUNS.c.unanswered_nano_usd
    connection.execute(
        update(RUNS).where(RUNS.c.id == run_id).values(charged_nano_usd=charged), {"run": run_id}
    )
