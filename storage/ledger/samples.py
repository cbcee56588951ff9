"""The rationales of one example that are voted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from models.stages import SAMPLE
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
            UNITS.c.variant == SAMPLE,
            UNITS.c.state == DONE,
        )
        .order_by(UNITS.c.sample)
    )
    with db.read() as connection:
        return [Sample(row.result, row.generation) for row in connection.execute(query)]
