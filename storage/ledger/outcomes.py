"""How a unit ends: its result, what it paid, and what that sets free, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, update

from models.stages import Step
from models.types import Rejection
from storage.database import Database
from storage.ledger.claims import Work
from storage.ledger.dependants import feed, skip
from storage.ledger.generations import Purchase, book
from storage.schema import DONE, FAILED, READY, REJECTIONS, UNITS


@dataclass(frozen=True, slots=True)
class Outcome:
    """`result` of a unit that is done, or `reason` and `detail` of one that failed; `rejection` is the
    last answer that was not accepted, where that is why.

    `feeds` are the steps of the same example that have one need less; `skips` those that will not
    happen, and `because` is the reason: `already_correct` or `upstream_failed`.
    """

    work: Work
    result: dict[str, Any] | None = None
    reason: str | None = None
    detail: str | None = None
    purchase: Purchase | None = None
    rejection: Rejection | None = None
    generation: str | None = None
    feeds: Sequence[Step] = field(default_factory=tuple)
    skips: Sequence[Step] = field(default_factory=tuple)
    because: str = ""


def finish(db: Database, outcomes: Sequence[Outcome], now: float) -> int:
    """Store outcomes; how many were news. A unit that is already final stays as it is."""
    with db.write() as connection:
        # In one order everywhere, so that two transactions do not wait for each other.
        ordered = sorted(outcomes, key=lambda outcome: outcome.work.unit_id)
        return sum(_finish(connection, outcome, now) for outcome in ordered)


def reject(db: Database, work: Work, rejection: Rejection, attempt: int, generation: str,
           purchase: Purchase | None, now: float) -> None:  # fmt: skip
    """Keep an answer that is not accepted; the unit goes on. Recording it twice changes nothing."""
    with db.write() as connection:
        if purchase:
            book(connection, work, purchase, now)
        _record(connection, work, rejection, attempt, generation, now)


def _finish(connection: Connection, outcome: Outcome, now: float) -> int:
    work = outcome.work
    if outcome.purchase:
        book(connection, work, outcome.purchase, now)
    state = DONE if outcome.result is not None else FAILED
    news = connection.execute(
        update(UNITS)
        .where(UNITS.c.id == work.unit_id, UNITS.c.state == READY)
        .values(
            state=state, result=outcome.result, reason=outcome.reason, detail=outcome.detail,
            generation=outcome.generation, finished_at=now, lease_owner=None, lease_until=None,
        )
    ).rowcount  # fmt: skip
    if not news:
        return 0
    if outcome.rejection:
        _record(connection, work, outcome.rejection, work.rejections, outcome.generation, now)
    if outcome.feeds:
        feed(connection, work.run_id, work.example_id, outcome.feeds)
    if outcome.skips:
        skip(connection, work.run_id, work.example_id, outcome.skips, outcome.because, now)
    return 1


def _record(connection: Connection, work: Work, rejection: Rejection, attempt: int,
            generation: str | None, now: float) -> None:  # fmt: skip
    """The next attempt has another number, so that it asks again instead of reading this answer."""
    news = connection.execute(
        update(UNITS)
        .where(UNITS.c.id == work.unit_id, UNITS.c.rejections == attempt)
        .values(rejections=attempt + 1)
    ).rowcount
    if news:
        connection.execute(
            insert(REJECTIONS).values(
                run_id=work.run_id, unit_id=work.unit_id, stage=work.stage, attempt=attempt,
                reason=rejection.reason, detail=rejection.detail, generation=generation, created_at=now,
            )
        )  # fmt: skip
