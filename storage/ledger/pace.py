"""The units that ended lately, by queue and stage: how fast a run goes, and since when it stands still."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select

from storage.database import Database
from storage.schema import DONE, FAILED, UNITS

# They tell enough of the speed of a fast run.
MAX_ENDED = 2000


class EndedUnits(NamedTuple):
    """Units of a stage in a queue that were done or failed: how many, and when the first and last were."""

    queue: str
    stage: str
    number: int
    first: float
    last: float


def ended_since(db: Database, run_id: str, since: float) -> list[EndedUnits]:
    """Return the units that ended at `since` or later, seconds since the epoch; of a fast run the last ones.
    Skipped ones do not count."""
    ended_at = UNITS.c.finished_at
    last = (
        select(UNITS.c.queue, UNITS.c.stage, ended_at)
        .where(UNITS.c.run_id == run_id, ended_at >= since, UNITS.c.state.in_((DONE, FAILED)))
        .order_by(ended_at.desc())
        .limit(MAX_ENDED)
        .subquery()
    )
    stage, times = (last.c.queue, last.c.stage), last.c.finished_at
    query = select(*stage, func.count(), func.min(times), func.max(times)).group_by(*stage)
    with db.read() as connection:
        return [EndedUnits(*row) for row in connection.execute(query)]
