"""The rows of a run by their end: the one count that progress, status, page and report show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, Select, and_, case, func, or_, select

from storage.database import Database
from storage.ledger.counts import ANY_SPLIT, IN_FLIGHT, Funnel
from storage.ledger.runs import Run
from storage.schema import DONE, FAILED, OPEN, READY, SKIPPED, UNITS, UPSTREAM_FAILED, WAITING


@dataclass(frozen=True, slots=True)
class RowCounts:
    """The rows of a run. No unit of a `finished` or `failed` row is open; a failed one lacks a step, of which
    no sample ended well. The others are open."""

    planned: int = 0
    finished: int = 0
    failed: int = 0

    @property
    def open(self) -> int:
        return self.planned - self.finished - self.failed

    def __str__(self) -> str:
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"finished {self.finished:,} of {self.planned:,} rows{failed}"

    def document(self) -> dict[str, int]:
        return {
            "planned": self.planned, "finished": self.finished, "failed": self.failed, "open": self.open
        }  # fmt: skip


def row_counts(db: Database, run: Run, funnel: Funnel) -> RowCounts:
    """Count the rows of both splits. `funnel` is that of the run."""
    units = {split: len(slots) for split, slots in run.slots.items() if slots}
    planned = sum(funnel.total(split=split).total() // number for split, number in units.items())
    states = funnel.total()
    failed = states[FAILED]
    with db.read() as connection:
        if failed and max(units.values()) > 1:
            failed = connection.execute(_failed_rows(run.id)).scalar_one()
        still_open = sum(_open_rows(connection, run, split, funnel) for split in units)
    return RowCounts(planned, planned - still_open - failed, failed)


def _open_rows(connection: Connection, run: Run, split: str, funnel: Funnel) -> int:
    """Count the rows of a split with an open unit. If each step waits for the one before, the last step of a
    row is open as long as any is; else the rows are counted one by one."""
    slots = run.slots[split]
    if all(before.step in slot.after for before, slot in pairwise(slots)):
        return _open(funnel.rows.get((split, slots[-1].stage, slots[-1].variant), Counter()))
    if not _open(funnel.total(split=split)):
        return 0
    of_split = (UNITS.c.run_id == run.id, UNITS.c.split == split, UNITS.c.state.in_(OPEN))
    query = select(func.count(UNITS.c.example_id.distinct())).where(*of_split)
    return int(connection.execute(query).scalar_one())


def _open(states: Counter[str]) -> int:
    return states[WAITING] + states[READY] + states[IN_FLIGHT]


def _failed_rows(run_id: str) -> Select[Any]:
    row, state = UNITS.c.example_id, UNITS.c.state
    suspects = select(row).where(UNITS.c.run_id == run_id, ANY_SPLIT, state == FAILED)
    ended_well = or_(state == DONE, and_(state == SKIPPED, UNITS.c.reason != UPSTREAM_FAILED))
    steps = (
        select(
            row,
            func.max(case((ended_well, 1), else_=0)).label("ended_well"),
            func.max(case((state.in_(OPEN), 1), else_=0)).label("is_open"),
        )
        .where(UNITS.c.run_id == run_id, row.in_(suspects))
        .group_by(row, UNITS.c.stage, UNITS.c.variant)
        .subquery()
    )
    rows = (
        select(steps.c.example_id)
        .group_by(steps.c.example_id)
        .having(func.max(steps.c.is_open) == 0, func.min(steps.c.ended_well) == 0)
        .subquery()
    )
    return select(func.count()).select_from(rows)
