"""The units of a run that ended last, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, or_, select

from storage.database import Database
from storage.schema import DONE, EXAMPLES, FAILED, UNITS

Position = tuple[float, int]


@dataclass(frozen=True, slots=True)
class LatestUnit:
    """A unit that is done or failed, with its row. `ended` is in seconds since the epoch."""

    id: int
    ended: float
    split: str
    question_id: str
    request: str
    columns: dict[str, Any]
    stage: str
    variant: str
    sample: int
    state: str
    reason: str | None
    result: dict[str, Any]

    @property
    def position(self) -> Position:
        return (self.ended, self.id)


def latest_units(
    db: Database, run_id: str, *, stage: str = "", before: Position | None = None, limit: int = 50
) -> list[LatestUnit]:
    """Return the units that ended last, of a `stage` if one is named, those `before` a position first."""
    query = (
        select(
            UNITS.c.id, UNITS.c.finished_at.label("ended"), UNITS.c.split, EXAMPLES.c.question_id,
            EXAMPLES.c.request, EXAMPLES.c.columns, UNITS.c.stage, UNITS.c.variant, UNITS.c.sample,
            UNITS.c.state, UNITS.c.reason, UNITS.c.result,
        )
        .join(EXAMPLES, EXAMPLES.c.id == UNITS.c.example_id)
        .where(UNITS.c.run_id == run_id, UNITS.c.finished_at.is_not(None))
        .where(UNITS.c.state.in_((DONE, FAILED)))
        .order_by(UNITS.c.finished_at.desc(), UNITS.c.id.desc())
        .limit(limit)
    )  # fmt: skip
    if stage:
        query = query.where(UNITS.c.stage == stage)
    if before:
        ended, unit_id = before
        earlier = and_(UNITS.c.finished_at == ended, UNITS.c.id < unit_id)
        query = query.where(or_(UNITS.c.finished_at < ended, earlier))
    with db.read() as connection:
        return [
            LatestUnit(**row._asdict() | {"columns": row.columns or {}, "result": row.result or {}})
            for row in connection.execute(query)
        ]
