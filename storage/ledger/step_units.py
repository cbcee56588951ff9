"""The rows of a pipeline of steps, each with the units of its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from models.core.types import JSON
from storage.database import Database
from storage.ledger.runs import Run
from storage.schema import CONDITION, DONE, EXAMPLES, FINAL, SKIPPED, TEST, TRAIN, UNITS

PAGE = 100


@dataclass(frozen=True, slots=True)
class StepUnit:
    """A unit of a row; `result` is empty unless it is done."""

    id: int
    sample: int
    state: str
    reason: str | None
    result: JSON
    generation: str | None

    @property
    def ended_well(self) -> bool:
        """True if the unit is done, or its condition was false."""
        return self.state == DONE or (self.state == SKIPPED and self.reason == CONDITION)


@dataclass(frozen=True, slots=True)
class StepRow:
    """A row of the data with its units by step, each in the order of samples. `number` counts the rows of its
    split from 0."""

    split: str
    number: int
    question_id: str
    columns: JSON
    units: dict[str, list[StepUnit]] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        return all(unit.state in FINAL for units in self.units.values() for unit in units)

    @property
    def is_done(self) -> bool:
        """True if each step ended well, or one of its samples did."""
        return self.is_final and all(any(unit.ended_well for unit in units) for units in self.units.values())


def step_units(db: Database, run: Run, example_ids: Sequence[int] | None = None) -> Iterator[StepRow]:
    """Yield the rows of a run in the order of the data, in bounded memory: all, or those of
    `example_ids`, which are a few hundred at most."""
    query = select(EXAMPLES).where(EXAMPLES.c.dataset == run.dataset).order_by(EXAMPLES.c.row).limit(PAGE)
    if example_ids is not None:
        query = query.where(EXAMPLES.c.id.in_(example_ids))
    for split in (TRAIN, TEST):
        last = -1
        while True:
            with db.read() as connection:
                page = connection.execute(query.where(EXAMPLES.c.split == split, EXAMPLES.c.row > last)).all()
                rows = {
                    row.id: StepRow(split, row.row, row.question_id, dict(row.columns or {})) for row in page
                }
                _add_units(connection, run, rows)
            yield from rows.values()
            if len(page) < PAGE:
                break
            last = page[-1].row


def has_test_rows(db: Database, run: Run) -> bool:
    query = select(EXAMPLES.c.id).where(EXAMPLES.c.dataset == run.dataset, EXAMPLES.c.split == TEST).limit(1)
    with db.read() as connection:
        return connection.execute(query).first() is not None


def _add_units(connection: Connection, run: Run, rows: dict[int, StepRow]) -> None:
    for row in rows.values():
        row.units.update({name: [] for name in run.experiment.steps})
    query = (
        select(
            UNITS.c.example_id, UNITS.c.stage, UNITS.c.id, UNITS.c.sample, UNITS.c.state, UNITS.c.reason,
            UNITS.c.result, UNITS.c.generation,
        )
        .where(UNITS.c.run_id == run.id, UNITS.c.example_id.in_(list(rows)))
        .order_by(UNITS.c.id)
    )  # fmt: skip
    for example_id, stage, unit_id, sample, state, reason, result, generation in connection.execute(query):
        unit = StepUnit(unit_id, sample, state, reason, _done(state, result), generation)
        rows[example_id].units[stage].append(unit)


def _done(state: str, result: Any) -> JSON:
    return result or {} if state == DONE else {}
