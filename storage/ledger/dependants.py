"""What waits for a step of the same example: set free, or told that it will not happen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, case, tuple_, update

from models.stages import Step
from storage.schema import READY, SKIPPED, UNITS, WAITING


def feed(connection: Connection, run_id: str, example_id: int, steps: Sequence[Step]) -> None:
    """Each of the steps has one need less; without needs it is ready."""
    # A skipped unit has one need less too: a retry of what it lacked must find its count right.
    met = and_(UNITS.c.state == WAITING, UNITS.c.needs <= 1)
    connection.execute(
        update(UNITS)
        .where(*_among(run_id, example_id, steps), UNITS.c.state.in_((WAITING, SKIPPED)))
        .values(needs=UNITS.c.needs - 1, state=case((met, READY), else_=UNITS.c.state))
    )


def skip(
    connection: Connection, run_id: str, example_id: int, steps: Sequence[Step], because: str, now: float
) -> None:
    """Those of the steps that wait will not happen."""
    connection.execute(
        update(UNITS)
        .where(*_among(run_id, example_id, steps), UNITS.c.state == WAITING)
        .values(state=SKIPPED, reason=because, finished_at=now)
    )


def _among(run_id: str, example_id: int, steps: Sequence[Step]) -> list[Any]:
    return [
        UNITS.c.run_id == run_id,
        UNITS.c.example_id == example_id,
        tuple_(UNITS.c.stage, UNITS.c.variant, UNITS.c.sample).in_(list(steps)),
    ]
