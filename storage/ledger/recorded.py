"""What a run was answered, to be recorded (see `models.recording`). In bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import select, union

from models.types import JSON, Completion
from storage.database import Database
from storage.ledger.generations import stored
from storage.schema import DONE, EXAMPLES, GENERATIONS, REJECTIONS, UNITS

PAGE = 500
# What a judge model said of a rationale stands in what its unit stored.
JUDGED = ("rationale", "rationalize")
VERDICT = UNITS.c.result["verdict", "generation"].as_string()


class Generation(NamedTuple):
    """`request` is its body; `cost` is in billionths of a dollar."""

    key: str
    stage: str
    request: JSON
    completion: Completion
    cost: int


class Augmented(NamedTuple):
    """`text` is None where nothing was accepted."""

    split: str
    question_id: str
    text: str | None


def generations(db: Database, run_id: str) -> Iterator[Generation]:
    """All answers that units of the run rest on or rejected, whichever run bought them; by their keys."""
    asked = [
        select(table.c.generation).where(table.c.run_id == run_id, table.c.generation.is_not(None))
        for table in (UNITS, REJECTIONS)
    ]
    asked.append(
        select(VERDICT).where(UNITS.c.run_id == run_id, UNITS.c.stage.in_(JUDGED), VERDICT.is_not(None))
    )
    query = (
        select(GENERATIONS)
        .where(GENERATIONS.c.done.is_(True), GENERATIONS.c.key.in_(union(*asked)))
        .order_by(GENERATIONS.c.key)
    )
    with db.read() as connection:
        for row in connection.execution_options(yield_per=PAGE).execute(query):
            yield Generation(row.key, row.stage, row.request, stored(row), row.cost_nano_usd)


def augmented(db: Database, run_id: str) -> Iterator[Augmented]:
    """What each example was given of replies to several; in the order of the dataset."""
    query = (
        select(UNITS.c.split, EXAMPLES.c.question_id, UNITS.c.state, UNITS.c.result)
        .join(EXAMPLES, EXAMPLES.c.id == UNITS.c.example_id)
        .where(UNITS.c.run_id == run_id, UNITS.c.stage == "augment")
        .order_by(UNITS.c.id)
    )
    with db.read() as connection:
        for row in connection.execution_options(yield_per=PAGE).execute(query):
            text = row.result["augmentation"] if row.state == DONE else None
            yield Augmented(row.split, row.question_id, text)
