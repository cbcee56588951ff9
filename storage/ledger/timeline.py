"""A run over time: what ended and what was bought in each interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Select, case, func, select

from storage.database import Database
from storage.schema import FAILED, GENERATIONS, OPEN, REJECTIONS, UNITS

MAX_INTERVALS = 60
# Seconds of an interval, so that its ends are round.
WIDTHS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600)


@dataclass(slots=True)
class Interval:
    """The counts of a time from `start` on, in seconds since the epoch: finished rows, tokens,
    dollars, and as `errors` failed units and answers that were not accepted."""

    start: float
    rows: int = 0
    tokens: int = 0
    cost_nano_usd: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Timeline:
    """Intervals of `seconds` each, without a gap, from the first unit that ended to the last."""

    seconds: float = 1.0
    intervals: tuple[Interval, ...] = ()


def read_timeline(db: Database, run_id: str) -> Timeline:
    """Read at most MAX_INTERVALS intervals. It takes a pass over the units and calls of the run."""
    ended = UNITS.c.finished_at
    span = select(func.min(ended), func.max(ended)).where(UNITS.c.run_id == run_id)
    with db.read() as connection:
        first, last = connection.execute(span).one()
        if first is None:
            return Timeline()
        seconds = next((each for each in WIDTHS if (last - first) / each < MAX_INTERVALS - 1), None)
        seconds = seconds or WIDTHS[-1] * math.ceil((last - first) / (MAX_INTERVALS - 1) / WIDTHS[-1])
        start = first // seconds * seconds
        intervals = [Interval(start + n * seconds) for n in range(int((last - start) // seconds) + 1)]
        _fill(connection, run_id, intervals, lambda at: func.floor((at - start) / seconds).cast(Integer))
    return Timeline(float(seconds), tuple(intervals))


def _fill(
    connection: Connection, run_id: str, intervals: list[Interval],
    number: Callable[[ColumnElement[float]], ColumnElement[int]],
) -> None:  # fmt: skip
    def grouped(at: ColumnElement[float], *sums: Any) -> Select[Any]:
        return select(number(at).label("number"), *sums).group_by("number")

    rows = (
        select(func.max(UNITS.c.finished_at).label("ended"))
        .where(UNITS.c.run_id == run_id)
        .group_by(UNITS.c.split, UNITS.c.example_id)
        .having(func.max(case((UNITS.c.state.in_(OPEN), 1), else_=0)) == 0)
        .subquery()
    )
    tokens = GENERATIONS.c.prompt_tokens + GENERATIONS.c.completion_tokens
    bought = grouped(
        GENERATIONS.c.created_at + func.coalesce(GENERATIONS.c.seconds, 0.0),
        func.sum(tokens), func.sum(GENERATIONS.c.cost_nano_usd),
    ).where(GENERATIONS.c.run_id == run_id, GENERATIONS.c.done)  # fmt: skip
    failed = grouped(UNITS.c.finished_at, func.count()).where(
        UNITS.c.run_id == run_id, UNITS.c.state == FAILED
    )
    rejected = grouped(REJECTIONS.c.created_at, func.count()).where(REJECTIONS.c.run_id == run_id)

    def of(index: int | None) -> Interval:
        return intervals[min(max(index or 0, 0), len(intervals) - 1)]

    for index, count in connection.execute(grouped(rows.c.ended, func.count())):
        of(index).rows += count
    for index, some_tokens, cost in connection.execute(bought):
        of(index).tokens += some_tokens
        of(index).cost_nano_usd += cost
    for query in (failed, rejected):
        for index, count in connection.execute(query):
            of(index).errors += count
