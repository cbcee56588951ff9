"""What waits for a step of the same example: set free, or told that it will not happen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, and_, bindparam, case, or_, update

from models.core.pipeline.stages import Step
from storage.schema import READY, SKIPPED, UNITS, WAITING


class DependantKey(NamedTuple):
    """A unit by what it is for."""

    run_id: str
    example_id: int
    step: Step

    def parameters(self) -> dict[str, object]:
        stage, variant, sample = self.step
        return {
            "of_run": self.run_id, "of_example": self.example_id,
            "of_stage": stage, "of_variant": variant, "of_sample": sample,
        }  # fmt: skip


_BY_KEY = and_(
    UNITS.c.run_id == bindparam("of_run"),
    UNITS.c.example_id == bindparam("of_example"),
    UNITS.c.stage == bindparam("of_stage"),
    UNITS.c.variant == bindparam("of_variant"),
    UNITS.c.sample == bindparam("of_sample"),
)
# A skipped unit has one need less too: a retry of what it lacked must find its count right.
_RELEASE = (
    update(UNITS)
    .where(_BY_KEY, or_(UNITS.c.state == WAITING, UNITS.c.state == SKIPPED))
    .values(
        needs=UNITS.c.needs - 1,
        state=case((and_(UNITS.c.state == WAITING, UNITS.c.needs <= 1), READY), else_=UNITS.c.state),
    )
)
_SKIP = (
    update(UNITS)
    .where(_BY_KEY, UNITS.c.state == WAITING)
    .values(state=SKIPPED, reason=bindparam("because"), finished_at=bindparam("now"))
)


def release_dependants(connection: Connection, places: Iterable[DependantKey]) -> None:
    """Each of the units has one need less; without needs it is ready."""
    if rows := [place.parameters() for place in places]:
        connection.execute(_RELEASE, rows)


def skip_dependants(connection: Connection, places: Iterable[tuple[DependantKey, str]], now: float) -> None:
    """Those of the units that wait will not happen; each place comes with its reason."""
    if rows := [{**place.parameters(), "because": because, "now": now} for place, because in places]:
        connection.execute(_SKIP, rows)
