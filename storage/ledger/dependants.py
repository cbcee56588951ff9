"""Units that depend on a step of the same example: released when it ends well, else skipped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, and_, bindparam, case, or_, update

from models.core.pipeline.graph import Step
from storage.schema import READY, SKIPPED, UNITS, WAITING


class DependantKey(NamedTuple):
    """A unit named by its run, example and step."""

    run_id: str
    example_id: int
    step: Step

    def parameters(self) -> dict[str, object]:
        stage, variant, sample = self.step
        return {
            "of_run": self.run_id, "of_example": self.example_id,
            "of_stage": stage, "of_variant": variant, "of_sample": sample,
        }  # fmt: skip


class SkippedUnit(NamedTuple):
    """A unit that will not happen; the `votes` that gather it go on without it."""

    key: DependantKey
    reason: str
    votes: Sequence[Step] = ()


_BY_KEY = and_(
    UNITS.c.run_id == bindparam("of_run"),
    UNITS.c.example_id == bindparam("of_example"),
    UNITS.c.stage == bindparam("of_stage"),
    UNITS.c.variant == bindparam("of_variant"),
    UNITS.c.sample == bindparam("of_sample"),
)
# Skipped units are counted down too: a retry of the missing step relies on their count.
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
    .values(state=SKIPPED, reason=bindparam("skip_reason"), finished_at=bindparam("now"))
)


def release_dependants(connection: Connection, keys: Iterable[DependantKey]) -> None:
    """Count down the needs of these units; a unit without needs becomes ready."""
    if rows := [key.parameters() for key in keys]:
        connection.execute(_RELEASE, rows)


def skip_dependants(connection: Connection, skips: Iterable[SkippedUnit], now: float) -> None:
    """Skip those of the units that wait, and release the votes on them."""
    rows = []
    for skipped in skips:
        row = {**skipped.key.parameters(), "skip_reason": skipped.reason, "now": now}
        if not skipped.votes:
            rows.append(row)
        # A unit that was skipped before has released its votes.
        elif connection.execute(_SKIP, row).rowcount:
            release_dependants(connection, (skipped.key._replace(step=vote) for vote in skipped.votes))
    if rows:
        connection.execute(_SKIP, rows)
