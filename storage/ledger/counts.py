"""Counts and sums of a run: units by state, reasons, spending, latencies; and a summary of every run."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Integer, Select, cast, desc, func, literal, select, union, union_all

from models.core.types import Usage
from storage import schema
from storage.database import Database
from storage.schema import GENERATIONS, REJECTIONS, RUNS, UNITS

IN_FLIGHT = "in_flight"
# This condition lets the index `unit_funnel` serve queries by state.
ANY_SPLIT = UNITS.c.split.in_((schema.TRAIN, schema.TEST))
STATES = (schema.WAITING, schema.READY, IN_FLIGHT, schema.DONE, schema.FAILED, schema.SKIPPED)


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
        by_variant: dict[str, Counter[str]] = {}
        for (_, of_stage, variant), states in self.rows.items():
            if stage == of_stage:
                by_variant.setdefault(variant, Counter()).update(states)
        return by_variant


@dataclass(frozen=True, slots=True)
class Spending:
    """Calls that a run bought itself; answers that an earlier run paid for cost nothing. Of `estimated` calls
    the server did not tell the tokens."""

    calls: int
    usage: Usage
    cost_nano_usd: int
    seconds: float
    estimated: int = 0

    @property
    def dollars(self) -> float:
        return self.cost_nano_usd / 1e9

    @classmethod
    def nothing(cls) -> Spending:
        return cls(0, Usage(), 0, 0.0)


def funnel(db: Database, run_id: str, now: float) -> Funnel:
    cell = (UNITS.c.split, UNITS.c.stage, UNITS.c.variant)
    of_run = UNITS.c.run_id == run_id
    # An index alone answers the first query and leads the second to ready units. One statement sees both at
    # the same time.
    states = select(*cell, UNITS.c.state, func.count()).where(of_run).group_by(*cell, UNITS.c.state)
    live = (ANY_SPLIT, UNITS.c.state == schema.READY, UNITS.c.lease_until >= now)
    flying = select(*cell, literal(IN_FLIGHT), func.count()).where(of_run, *live).group_by(*cell)
    counted = Funnel()
    with db.read() as connection:
        for split, stage, variant, state, number in connection.execute(union_all(states, flying)):
            of_cell = counted.rows.setdefault((split, stage, variant), Counter())
            of_cell[state] += number
            if state == IN_FLIGHT:
                of_cell[schema.READY] -= number
    for of_cell in counted.rows.values():
        if not of_cell[schema.READY]:
            del of_cell[schema.READY]
    return counted


def spending(db: Database, run_id: str) -> Spending:
    with db.read() as connection:
        return _as_spending(connection.execute(_spending().where(*_bought(run_id))).one())


def count_final_since(db: Database, run_id: str, since: float) -> int:
    """Return how many units were done or failed since then."""
    query = select(func.count()).where(
        UNITS.c.run_id == run_id,
        UNITS.c.state.in_((schema.DONE, schema.FAILED)),
        UNITS.c.finished_at >= since,
    )
    with db.read() as connection:
        return int(connection.execute(query).scalar_one())


def failure_reasons(db: Database, run_id: str) -> dict[str, int]:
    """Count failed units by reason."""
    failed = (UNITS.c.run_id == run_id, ANY_SPLIT, UNITS.c.state == schema.FAILED)
    return _count_reasons(db, UNITS.c.reason, *failed)


def rejection_reasons(db: Database, run_id: str) -> dict[str, int]:
    """Count rejected answers by reason, also those of units that succeeded later."""
    return _count_reasons(db, REJECTIONS.c.reason, REJECTIONS.c.run_id == run_id)


def rejections_by_stage(db: Database, run_id: str) -> dict[str, dict[str, int]]:
    """Count rejected answers by stage and reason, the most frequent reason first."""
    group = (REJECTIONS.c.stage, REJECTIONS.c.reason)
    query = (
        select(*group, func.count().label("number"))
        .where(REJECTIONS.c.run_id == run_id)
        .group_by(*group)
        .order_by(desc("number"), REJECTIONS.c.reason)
    )
    counted: dict[str, dict[str, int]] = {}
    with db.read() as connection:
        for stage, reason, number in connection.execute(query):
            counted.setdefault(stage, {})[reason] = int(number)
    return counted


def spending_by_stage(db: Database, run_id: str) -> dict[str, Spending]:
    """Return what the run bought itself, by stage."""
    query = _spending(GENERATIONS.c.stage).where(*_bought(run_id)).group_by(GENERATIONS.c.stage)
    with db.read() as connection:
        return {stage: _as_spending(sums) for stage, *sums in connection.execute(query)}


def answers_by_stage(db: Database, run_id: str) -> dict[str, Spending]:
    """Return the price of all answers that the run uses or rejected, by stage, whichever run bought them."""
    asked = union(*(
        select(table.c.generation).where(table.c.run_id == run_id, table.c.generation.is_not(None))
        for table in (UNITS, REJECTIONS)
    ))  # fmt: skip
    query = (
        _spending(GENERATIONS.c.stage)
        .where(GENERATIONS.c.done.is_(True), GENERATIONS.c.key.in_(asked))
        .group_by(GENERATIONS.c.stage)
    )
    with db.read() as connection:
        return {stage: _as_spending(sums) for stage, *sums in connection.execute(query)}


def latencies(db: Database, run_id: str) -> dict[str, array[float]]:
    """Return the seconds of each call that the run bought itself, by stage; calls of batches have none."""
    query = select(GENERATIONS.c.stage, GENERATIONS.c.seconds).where(
        *_bought(run_id), GENERATIONS.c.seconds.is_not(None), GENERATIONS.c.batch.is_(None)
    )
    by_stage: dict[str, array[float]] = {}
    with db.read() as connection:
        for stage, seconds in connection.execute(query):
            by_stage.setdefault(stage, array("d")).append(seconds)
    return by_stage


def _spending(*group: Any) -> Select[Any]:
    tokens = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    sums = [func.coalesce(func.sum(GENERATIONS.c[name]), 0) for name in (*tokens, "cost_nano_usd", "seconds")]
    estimated = func.coalesce(func.sum(cast(GENERATIONS.c.estimated, Integer)), 0)
    return select(*group, func.count(), *sums, estimated)


def _bought(run_id: str) -> tuple[Any, Any]:
    return GENERATIONS.c.run_id == run_id, GENERATIONS.c.done.is_(True)


def _as_spending(sums: Sequence[Any]) -> Spending:
    calls, prompt, cached, completion, reasoning, cost, seconds, estimated = sums
    usage = Usage(int(prompt), int(cached), int(completion), int(reasoning))
    return Spending(calls, usage, int(cost), float(seconds), int(estimated))


def _count_reasons(db: Database, reason: Column[Any], *conditions: Any) -> dict[str, int]:
    query = select(reason, func.count()).where(*conditions).group_by(reason)
    with db.read() as connection:
        counted = {name or "unknown": int(number) for name, number in connection.execute(query)}
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run without its experiment. Times are seconds since the epoch."""

    id: str
    name: str
    state: str
    message: str
    planned: int
    created_at: float
    started_at: float
    finished_at: float | None


def run_summaries(db: Database) -> list[RunSummary]:
    """Return all runs, newest first."""
    columns = [RUNS.c[name] for name in RunSummary.__dataclass_fields__]
    with db.read() as connection:
        rows = connection.execute(select(*columns).order_by(RUNS.c.created_at.desc())).all()
    return [RunSummary(*row) for row in rows]
