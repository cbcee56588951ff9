"""Counts and sums of a run: units by state, reasons, spending, latencies; and a summary of every run."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    ScalarSelect,
    Select,
    Table,
    cast,
    desc,
    func,
    literal,
    or_,
    select,
    union,
    union_all,
)

from models.core.types import Usage
from storage import schema
from storage.database import Database
from storage.ledger.leases import live_owners, unit_is_held
from storage.schema import GENERATIONS, REJECTIONS, RUNS, SPENDING, UNIT_COUNTS, UNITS

IN_FLIGHT = "in_flight"
PAGE = 1000
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

    @classmethod
    def total(cls, parts: Iterable[Spending]) -> Spending:
        total = cls.nothing()
        for part in parts:
            used, more = total.usage, part.usage
            usage = Usage(
                used.prompt + more.prompt, used.cached + more.cached, used.completion + more.completion,
                used.reasoning + more.reasoning,
            )  # fmt: skip
            total = cls(
                total.calls + part.calls, usage, total.cost_nano_usd + part.cost_nano_usd,
                total.seconds + part.seconds, total.estimated + part.estimated,
            )  # fmt: skip
        return total


def funnel(db: Database, run_id: str, now: float) -> Funnel:
    cell = (UNITS.c.split, UNITS.c.stage, UNITS.c.variant)
    of_run = UNITS.c.run_id.concat("") == run_id
    # The empty texts keep SQLite from indexes that lead to more than the units in hand.
    live = (
        UNITS.c.lease_owner.is_not(None), UNITS.c.state.concat("") == schema.READY,
        unit_is_held(now),
    )  # fmt: skip
    flying = select(*cell, literal(IN_FLIGHT), func.count()).where(of_run, *live).group_by(*cell)
    # One statement sees both at the same time.
    states = unit_counts(run_id)
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


def unit_counts(run_id: str) -> Select[Any]:
    """Return the query for split, stage, variant, state and number of the run's units."""
    cell = (UNIT_COUNTS.c.split, UNIT_COUNTS.c.stage, UNIT_COUNTS.c.variant, UNIT_COUNTS.c.state)
    # The sum of PostgreSQL is a decimal.
    number = cast(func.sum(UNIT_COUNTS.c.number), BigInteger)
    return select(*cell, number).where(UNIT_COUNTS.c.run_id == run_id).group_by(*cell).having(number != 0)


def spending(db: Database, run_id: str) -> Spending:
    with db.read() as connection:
        return _as_spending(connection.execute(_sums(SPENDING).where(SPENDING.c.run_id == run_id)).one())


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
    stage = SPENDING.c.stage
    query = _sums(SPENDING, stage).where(SPENDING.c.run_id == run_id).group_by(stage)
    with db.read() as connection:
        return {stage: _as_spending(sums) for stage, *sums in connection.execute(query)}


def answers_by_stage(db: Database, run_id: str) -> dict[str, Spending]:
    """Return the price of all answers that the run uses or rejected, by stage, whichever run bought them."""
    asked = union(*(
        select(table.c.generation).where(table.c.run_id == run_id, table.c.generation.is_not(None))
        for table in (UNITS, REJECTIONS)
    ))  # fmt: skip
    query = (
        _sums(GENERATIONS, GENERATIONS.c.stage)
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
        for stage, seconds in connection.execution_options(yield_per=PAGE).execute(query):
            by_stage.setdefault(stage, array("d")).append(seconds)
    return by_stage


def _sums(table: Table, *group: Any) -> Select[Any]:
    """Sum up single calls, or the counts of calls."""
    tokens = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    calls = func.count() if table is GENERATIONS else func.coalesce(func.sum(table.c.calls), 0)
    sums = [func.coalesce(func.sum(table.c[name]), 0) for name in (*tokens, "cost_nano_usd", "seconds")]
    return select(*group, calls, *sums, func.coalesce(func.sum(cast(table.c.estimated, Integer)), 0))


def _bought(run_id: str) -> tuple[Any, Any]:
    return GENERATIONS.c.run_id == run_id, GENERATIONS.c.done.is_(True)


def _as_spending(sums: Sequence[Any]) -> Spending:
    calls, prompt, cached, completion, reasoning, cost, seconds, estimated = sums
    usage = Usage(int(prompt), int(cached), int(completion), int(reasoning))
    return Spending(int(calls), usage, int(cost), float(seconds), int(estimated))


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


def in_flight(db: Database, now: float) -> dict[tuple[str, str], int]:
    """Count the units in the hands of workers by (queue, run)."""
    group = (UNITS.c.queue, UNITS.c.run_id)
    query = (
        select(*group, func.count())
        .where(
            UNITS.c.lease_owner.in_(live_owners(now)),
            # The empty text keeps SQLite from the index of ready units, all of which it would read.
            UNITS.c.state.concat("") == schema.READY,
        )
        .group_by(*group)
    )
    with db.read() as connection:
        return {(queue, run): int(number) for queue, run, number in connection.execute(query)}


def demand_by_run(db: Database, limits: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Count the ready units of each running run in these queues, claimed or not, by queue and run, up to the
    limit of the queue, which keeps the query cheap for a run of a million units."""
    numbers = [_ready_in(queue, limit) for queue, limit in limits.items()]
    with db.read() as connection:
        rows = connection.execute(select(RUNS.c.id, *numbers).where(RUNS.c.state == schema.RUNNING)).all()
    return {queue: {row[0]: int(row[index]) for row in rows} for index, queue in enumerate(limits, 1)}


def _ready_in(queue: str, limit: int) -> ScalarSelect[Any]:
    ready = (
        select(literal(1))
        .where(
            UNITS.c.run_id == RUNS.c.id,
            UNITS.c.queue == queue,
            UNITS.c.state == schema.READY,
            or_(UNITS.c.lease_owner.is_(None), UNITS.c.lease_owner != schema.BATCH),
        )
        .correlate(RUNS)
        .limit(limit)
        .subquery()
    )
    return select(func.count()).select_from(ready).scalar_subquery()
