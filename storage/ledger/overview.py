"""All runs at a glance, without their experiments."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from storage.database import Database
from storage.schema import RUNS


@dataclass(frozen=True, slots=True)
class RunLine:
    """Times are seconds since the epoch."""

    id: str
    name: str
    state: str
    message: str
    planned: int
    created_at: float
    started_at: float
    finished_at: float | None


def run_lines(db: Database) -> list[RunLine]:
    """Newest first."""
    columns = [RUNS.c[name] for name in RunLine.__dataclass_fields__]
    with db.read() as connection:
        rows = connection.execute(select(*columns).order_by(RUNS.c.created_at.desc())).all()
    return [RunLine(*row) for row in rows]
