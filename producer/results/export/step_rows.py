"""Exported rows of a pipeline of steps: all columns of the data with those of the steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from models.core.kinds.order import sample_counts
from models.core.types import JSON
from producer.results.export.columns import in_batches
from producer.results.step_verdicts import is_accepted
from storage.database import Database
from storage.ledger.queries import reasonings
from storage.ledger.runs import Run
from storage.ledger.step_units import StepRow, StepUnit, has_test_rows, step_units

SPLIT = "split"


def step_columns(run: Run, *, reasoning: bool = False) -> dict[str, tuple[str, str]]:
    """Return the columns that the steps add, each with its step and the field of the step's result.

    A further field of a result, such as the text around an answer, is left out where its name is taken.
    """
    steps = run.experiment.steps
    columns = {name: (name, "value") for name in steps}
    for name, step in steps.items():
        fields = [*step.exported, *(["reasoning"] if reasoning and step.asks else [])]
        for field in fields:
            columns.setdefault(f"{name}_{field}", (name, field))
    # Each step's columns stand together.
    order = list(steps)
    return dict(sorted(columns.items(), key=lambda item: order.index(item[1][0])))


def step_rows(db: Database, run: Run, *, accepted: bool = False, reasoning: bool = False) -> Iterator[JSON]:
    """Yield the rows of the data in their order, in bounded memory, with the columns of the steps.

    A column is null where its step was skipped, failed or has not ended, and a list for a step with samples.
    Data of two splits has a last column `split`. `accepted` keeps the rows that `is_accepted` accepts.
    """
    made = step_columns(run, reasoning=reasoning)
    counts = sample_counts(run.experiment.steps)
    two_splits = has_test_rows(db, run)
    wanted = (row for row in step_units(db, run) if not accepted or is_accepted(run.experiment, row))
    for batch in in_batches(wanted):
        keys = [unit.generation for row in batch for unit in _units(row) if unit.generation]
        thoughts = reasonings(db, keys) if reasoning else {}
        for row in batch:
            columns = {
                column: _value(row.units[step], field, counts[step], thoughts)
                for column, (step, field) in made.items()
                if field == "value" or column not in row.columns
            }
            split = {SPLIT: row.split} if two_splits else {}
            yield {**split, **row.columns, **columns} if SPLIT in row.columns else {
                **row.columns, **columns, **split
            }  # fmt: skip


def _units(row: StepRow) -> Iterator[StepUnit]:
    return (unit for units in row.units.values() for unit in units)


def _value(units: list[StepUnit], field: str, count: int, thoughts: Mapping[str, str]) -> Any:
    if field == "reasoning":
        values = [thoughts.get(unit.generation or "") for unit in units]
    else:
        values = [unit.result.get(field) for unit in units]
    return values if count > 1 else values[0] if values else None
