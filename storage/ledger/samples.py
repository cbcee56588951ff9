"""The earlier rationales of an example: those that are voted on, and those that were right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from models.rounds import SAMPLE, named, rationales, round_of
from storage.database import Database
from storage.ledger.claims import Work
from storage.schema import DONE, UNITS


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sample's unit stored, and the key of the call that it rests on."""

    result: dict[str, Any]
    generation: str | None


def answered(db: Database, vote: Work) -> list[Sample]:
    """The samples of the vote's example that did not fail, in the order in which they were drawn."""
    query = (
        select(UNITS.c.result, UNITS.c.generation)
        .where(
            UNITS.c.run_id == vote.run_id,
            UNITS.c.example_id == vote.example_id,
            UNITS.c.stage == vote.stage,
            UNITS.c.variant == named(round_of(vote.variant), SAMPLE),
            UNITS.c.state == DONE,
        )
        .order_by(UNITS.c.sample)
    )
    with db.read() as connection:
        return [Sample(row.result, row.generation) for row in connection.execute(query)]


def right_before(db: Database, work: Work) -> int:
    """How many rationales of earlier passes of the round are right; samples are none, but the vote is."""
    query = (
        select(func.count())
        .select_from(UNITS)
        .where(
            UNITS.c.run_id == work.run_id,
            UNITS.c.example_id == work.example_id,
            UNITS.c.stage.in_(("rationale", "rationalize")),
            UNITS.c.variant.in_(rationales(round_of(work.variant))),
            UNITS.c.state == DONE,
            UNITS.c.id < work.unit_id,
            UNITS.c.result["correct"].as_boolean().is_(True),
        )
    )
    with db.read() as connection:
        return int(connection.execute(query).scalar_one())
