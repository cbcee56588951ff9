"""Answers that the ledger has of rows like those of an experiment, and what they took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, union

from models.core.row_values import canonical_text
from models.core.types import Example
from storage.database import Database
from storage.ledger.runs import Run, load_run
from storage.schema import (
    EXAMPLES,
    FINAL,
    GENERATIONS,
    OPEN,
    PLANNED,
    REJECTIONS,
    RUNS,
    TEST,
    TRAIN,
    UNITS,
)

# Runs of these names that are looked at, the newest first.
MAX_RUNS = 5
# Rows of a split that are looked at for a sample, and rows of a sample.
FIRST_ROWS = 1000
SAMPLE_ROWS = 200
PAGE = 500
# Split, stage and variant of units.
UnitCell = tuple[str, str, str]


def runs_named(db: Database, names: Sequence[str]) -> list[Run]:
    """Return the newest runs of these experiments that were started."""
    query = (
        select(RUNS.c.id)
        .where(RUNS.c.name.in_(names), RUNS.c.state != PLANNED)
        .order_by(RUNS.c.created_at.desc())
        .limit(MAX_RUNS)
    )
    with db.read() as connection:
        ids = list(connection.scalars(query))
    return [load_run(db, each) for each in ids]


def row_counts(db: Database, dataset: str) -> dict[str, int]:
    """Count the rows by split."""
    query = select(EXAMPLES.c.split, func.count()).where(EXAMPLES.c.dataset == dataset)
    with db.read() as connection:
        return {split: int(n) for split, n in connection.execute(query.group_by(EXAMPLES.c.split))}


def row_ids(db: Database, dataset: str, split: str) -> dict[str, int]:
    """Return the rows of a split by what stands in them."""
    query = select(EXAMPLES).where(EXAMPLES.c.dataset == dataset, EXAMPLES.c.split == split)
    with db.read() as connection:
        rows = connection.execution_options(yield_per=PAGE).execute(query)
        return {content(row): row.id for row in rows}


def content(row: Any) -> str:
    """Return a text that is equal for equal rows. `row` is an example, or its row of the ledger."""
    return canonical_text({"": [row.request, row.reference, row.columns or {}]})


def final_units(db: Database, run: Run, example_ids: Sequence[int] | None) -> Counter[UnitCell]:
    """Count the final units of these rows, or of all, by split, stage and variant."""
    counted: Counter[UnitCell] = Counter()
    cell = (UNITS.c.split, UNITS.c.stage, UNITS.c.variant)
    final = or_(*(UNITS.c.state == state for state in FINAL))
    query = select(*cell, func.count()).where(UNITS.c.run_id == run.id, final).group_by(*cell)
    with db.read() as connection:
        for rows in _conditions(example_ids):
            for split, stage, variant, number in connection.execute(query.where(*rows)):
                counted[split, stage, variant] += number
    return counted


def answers(db: Database, run: Run, example_ids: Sequence[int] | None) -> Counter[UnitCell]:
    """Count the answers that these rows, or all, got, by split, stage and variant."""
    counted: Counter[UnitCell] = Counter()
    with db.read() as connection:
        for rows in _conditions(example_ids):
            asked = union(*_queries(run, rows)).subquery()
            cell = (asked.c.split, asked.c.stage, asked.c.variant)
            query = select(*cell, func.count(asked.c.generation.distinct())).group_by(*cell)
            for split, stage, variant, number in connection.execute(query):
                counted[split, stage, variant] += number
    return counted


def _conditions(example_ids: Sequence[int] | None) -> Iterator[Sequence[ColumnElement[bool]]]:
    """Yield the conditions that select these rows, some at a time."""
    if example_ids is None:
        yield ()
        return
    for start in range(0, len(example_ids), PAGE):
        yield (UNITS.c.example_id.in_(example_ids[start : start + PAGE]),)


class _Asked(NamedTuple):
    example_id: int
    split: str
    stage: str
    variant: str
    generation: str


def _queries(run: Run, rows: Sequence[ColumnElement[bool]]) -> Sequence[Select[Any]]:
    """Return queries of the calls of units: those that they used, had rejected, or bought."""
    unit = (UNITS.c.example_id, UNITS.c.split, UNITS.c.stage, UNITS.c.variant)
    of_rows = (UNITS.c.run_id == run.id, *rows)
    return (
        select(*unit, UNITS.c.generation).where(*of_rows, UNITS.c.generation.is_not(None)),
        select(*unit, REJECTIONS.c.generation)
        .join(REJECTIONS, REJECTIONS.c.unit_id == UNITS.c.id)
        .where(*of_rows, REJECTIONS.c.generation.is_not(None)),
        # The answer of a judge is no unit's own.
        select(*unit, GENERATIONS.c.key)
        .join(GENERATIONS, GENERATIONS.c.unit_id == UNITS.c.id)
        .where(*of_rows, GENERATIONS.c.run_id == run.id, GENERATIONS.c.done.is_(True)),
    )


@dataclass(frozen=True, slots=True)
class SampledCall:
    """A call of a row, of which only a `part` is its own if several share it. `seconds` is None if nobody
    waited for the answer."""

    example_id: int
    split: str
    stage: str
    model: str
    part: float
    prompt: int
    cached: int
    completion: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows whose units are all final, by split, and their calls."""

    rows: dict[str, list[tuple[int, Example]]]
    calls: list[SampledCall]


def sample(db: Database, run: Run) -> Sample:
    """Return the first rows of a run that are final, and their calls."""
    rows = {split: _final_rows(db, run, split) for split in (TRAIN, TEST)}
    ids = [example_id for of_split in rows.values() for example_id, _ in of_split]
    asked: list[_Asked] = []
    bought: dict[str, Any] = {}
    with db.read() as connection:
        for condition in _conditions(ids):
            asked += [_Asked(*row) for row in connection.execute(union(*_queries(run, condition)))]
        keys = sorted({call.generation for call in asked})
        for start in range(0, len(keys), PAGE):
            of_page = (GENERATIONS.c.key.in_(keys[start : start + PAGE]), GENERATIONS.c.done.is_(True))
            bought |= {row.key: row for row in connection.execute(select(GENERATIONS).where(*of_page))}
    users = Counter(call.generation for call in asked)
    calls = [_sampled(call, bought[call.generation], users) for call in asked if call.generation in bought]
    return Sample(rows, calls)


def _sampled(call: _Asked, row: Any, users: Counter[str]) -> SampledCall:
    return SampledCall(
        call.example_id, call.split, call.stage, row.model, 1 / users[call.generation], row.prompt_tokens,
        row.cached_tokens, row.completion_tokens, row.seconds if row.batch is None else None,
    )  # fmt: skip


def _final_rows(db: Database, run: Run, split: str) -> list[tuple[int, Example]]:
    unit = (UNITS.c.run_id == run.id, UNITS.c.example_id == EXAMPLES.c.id)
    query = (
        select(EXAMPLES)
        .where(
            EXAMPLES.c.dataset == run.dataset, EXAMPLES.c.split == split, EXAMPLES.c.row < FIRST_ROWS,
            exists().where(*unit), ~exists().where(*unit, or_(*(UNITS.c.state == each for each in OPEN))),
        )
        .order_by(EXAMPLES.c.row)
        .limit(SAMPLE_ROWS)
    )  # fmt: skip
    with db.read() as connection:
        return [
            (row.id, Example(row.row, row.question_id, row.request, row.reference, columns=row.columns or {}))
            for row in connection.execute(query)
        ]
