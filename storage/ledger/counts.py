"""Where a run stands, counted from the ledger."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, and_, case, func, select

from models.types import Usage
from storage.database import Database
from storage.schema import (
    DONE,
    FAILED,
    GENERATIONS,
    READY,
    REJECTIONS,
    SKIPPED,
    UNITS,
    WAITING,
)

IN_FLIGHT = "in_flight"
STATES = (WAITING, READY, IN_FLIGHT, DONE, FAILED, SKIPPED)


@dataclass(slots=True)
class Funnel:
    """Units of a run by (split, stage, variant) and state; each unit is in exactly one state."""

    rows: dict[tuple[str, str, str], Counter[str]] = field(default_factory=dict)

    def total(self, *, split: str | None = None, stage: str | None = None) -> Counter[str]:
        total: Counter[str] = Counter()
        for (of_split, of_stage, _), states in self.rows.items():
            if split in (None, of_split) and stage in (None, of_stage):
                total.update(states)
        return total

    def variants(self, stage: str) -> dict[str, Counter[str]]:
        found: dict[str, Counter[str]] = {}
        for (_, of_stage, variant), states in self.rows.items():
            if stage == of_stage:
                found.setdefault(variant, Counter()).update(states)
        return found


@dataclass(frozen=True, slots=True)
class Spending:
    """What a run bought itself; answers that an earlier run had paid for cost nothing."""

    calls: int
    usage: Usage
    cost_nano_usd: int
    seconds: float

    @property
    def dollars(self) -> float:
        return self.cost_nano_usd / 1e9


def funnel(db: Database, run_id: str, now: float) -> Funnel:
    flying = and_(UNITS.c.state == READY, UNITS.c.lease_until >= now)
    state = case((flying, IN_FLIGHT), else_=UNITS.c.state)
    group = (UNITS.c.split, UNITS.c.stage, UNITS.c.variant, state)
    query = select(*group, func.count()).where(UNITS.c.run_id == run_id).group_by(*group)
    counted = Funnel()
    with db.read() as connection:
        for split, stage, variant, found, number in connection.execute(query):
            counted.rows.setdefault((split, stage, variant), Counter())[found] += number
    return counted


def spending(db: Database, run_id: str) -> Spending:
    columns = ("prompt_tokens", "cached_tokens", "completion_tokens", "cost_nano_usd", "seconds")
    sums = [func.coalesce(func.sum(GENERATIONS.c[name]), 0) for name in columns]
    query = select(func.count(), *sums).where(GENERATIONS.c.run_id == run_id, GENERATIONS.c.done.is_(True))
    with db.read() as connection:
        calls, prompt, cached, completion, cost, seconds = connection.execute(query).one()
    return Spending(calls, Usage(int(prompt), int(cached), int(completion)), int(cost), float(seconds))


def final_since(db: Database, run_id: str, since: float) -> int:
    """Units done or failed since then: the run's recent speed."""
    query = select(func.count()).where(
        UNITS.c.run_id == run_id,
        UNITS.c.state.in_((DONE, FAILED)),
        UNITS.c.finished_at >= since,
    )
    with db.read() as connection:
        return int(connection.execute(query).scalar_one())


def failure_reasons(db: Database, run_id: str) -> dict[str, int]:
    """Failed units by reason."""
    return _reasons(
        db,
        select(UNITS.c.reason, func.count())
        .where(UNITS.c.run_id == run_id, UNITS.c.state == FAILED)
        .group_by(UNITS.c.reason),
    )


def rejection_reasons(db: Database, run_id: str) -> dict[str, int]:
    """Rejected answers by reason, also of units that went on to succeed."""
    return _reasons(
        db,
        select(REJECTIONS.c.reason, func.count())
        .where(REJECTIONS.c.run_id == run_id)
        .group_by(REJECTIONS.c.reason),
    )


def _reasons(db: Database, query: Select[Any]) -> dict[str, int]:
    with db.read() as connection:
        counted = {reason or "unknown": int(number) for reason, number in connection.execute(query)}
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))
