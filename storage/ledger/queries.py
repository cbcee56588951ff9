"""Finished rows: exemplars for prompts, predictions for tables, synthetic data for export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.sql.elements import ColumnElement

from models.core.pipeline.stages import STAGES
from models.core.types import JSON, Request
from storage.database import Database
from storage.schema import DONE, EXAMPLES, FAILED, GENERATIONS, REJECTIONS, RUNS, TEST, TRAIN, UNITS

PAGE = 500


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A unit beside its example. `model` and `cost_nano_usd` are of the answer it rests on, `oracle`
    the ids of its right passages."""

    unit_id: int
    example_id: int
    split: str
    number: int
    question_id: str
    request: str
    reference: str
    stage: str
    variant: str
    sample: int
    state: str
    reason: str | None
    detail: str | None
    attempts: int
    rejections: int
    result: dict[str, Any]
    generation: str | None
    model: str | None
    cost_nano_usd: int | None
    oracle: list[str]

    @property
    def verdict(self) -> str | None:
        """The generation in which a judge model gave its verdict on a rationale."""
        return (self.result.get("verdict") or {}).get("generation")


def iter_rows(
    db: Database,
    run_id: str,
    *,
    stages: Sequence[str],
    states: Sequence[str] = (DONE,),
    split: str | None = None,
    examples: Sequence[int] | None = None,
) -> Iterator[ResultRow]:
    """In the order of planning, in bounded memory; of some hundred `examples` at most.

    Pages are ranges of the primary key; an index on the run, which an expression cannot use, would be
    sorted anew for each.
    """
    of_run = UNITS.c.run_id if examples is not None else UNITS.c.run_id.concat("")
    query = (
        _select(
            of_run == run_id,
            UNITS.c.stage.in_(stages),
            UNITS.c.state.in_(states),
            *([UNITS.c.split == split] if split else []),
            *([UNITS.c.example_id.in_(examples)] if examples is not None else []),
        )
        .order_by(UNITS.c.id)
        .limit(PAGE)
    )
    before, last = _range(db, run_id)
    while True:
        with db.read() as connection:
            page = connection.execute(query.where(UNITS.c.id > before, UNITS.c.id <= last)).all()
        for found in page:
            yield _row(found)
        if len(page) < PAGE:
            return
        before = page[-1].id


def _range(db: Database, run_id: str) -> tuple[int, int]:
    """All units of the run have numbers above the first and up to the second."""
    query = select(func.min(UNITS.c.id), func.max(UNITS.c.id)).where(UNITS.c.run_id == run_id)
    with db.read() as connection:
        first, last = connection.execute(query).one()
    return (first or 1) - 1, last or 0


def _select(*wanted: ColumnElement[bool]) -> Select[Any]:
    columns = (
        UNITS.c.id, UNITS.c.example_id, UNITS.c.split, EXAMPLES.c.row, EXAMPLES.c.question_id,
        EXAMPLES.c.request, EXAMPLES.c.reference, UNITS.c.stage, UNITS.c.variant, UNITS.c.sample,
        UNITS.c.state, UNITS.c.reason, UNITS.c.detail, UNITS.c.attempts, UNITS.c.rejections,
        UNITS.c.result, UNITS.c.generation, GENERATIONS.c.model, GENERATIONS.c.cost_nano_usd,
        EXAMPLES.c.oracle,
    )  # fmt: skip
    return (
        select(*columns)
        .join(EXAMPLES, EXAMPLES.c.id == UNITS.c.example_id)
        .outerjoin(GENERATIONS, GENERATIONS.c.key == UNITS.c.generation)
        .where(*wanted)
    )


def _row(found: Any) -> ResultRow:
    values = list(found)
    values[15] = values[15] or {}
    return ResultRow(*values)


def example_ids(db: Database, run_id: str, split: str) -> list[int]:
    """The examples of a split, in their order."""
    query = (
        select(UNITS.c.example_id)
        .distinct()
        .where(UNITS.c.run_id == run_id, UNITS.c.split == split)
        .order_by(UNITS.c.example_id)
    )
    with db.read() as connection:
        return list(connection.scalars(query))


def question_ids(db: Database, run_id: str, splits: Sequence[str]) -> Iterator[str]:
    """Of all examples of these splits, in no order; in bounded memory."""
    query = (
        select(EXAMPLES.c.question_id)
        .join(RUNS, RUNS.c.dataset == EXAMPLES.c.dataset)
        .where(RUNS.c.id == run_id, EXAMPLES.c.split.in_(splits))
    )
    with db.read() as connection:
        yield from connection.execution_options(yield_per=PAGE).scalars(query)


def requests(db: Database, keys: Sequence[str]) -> dict[str, Request]:
    """What was asked, by the key of the generation."""
    return {key: Request.from_body(body) for key, body in request_bodies(db, keys).items()}


def request_bodies(db: Database, keys: Sequence[str]) -> dict[str, JSON]:
    """What was asked, as `Request.body` wrote it, by the key of the generation."""
    found: dict[str, JSON] = {}
    with db.read() as connection:
        for start in range(0, len(keys), PAGE):
            query = select(GENERATIONS.c.key, GENERATIONS.c.request).where(
                GENERATIONS.c.key.in_(keys[start : start + PAGE])
            )
            found |= {key: body for key, body in connection.execute(query) if body}
    return found


def costs(db: Database, keys: Sequence[str]) -> dict[str, int]:
    """What calls cost, in billionths of a dollar, by the key of the generation."""
    found: dict[str, int] = {}
    with db.read() as connection:
        for start in range(0, len(keys), PAGE):
            query = select(GENERATIONS.c.key, GENERATIONS.c.cost_nano_usd).where(
                GENERATIONS.c.key.in_(keys[start : start + PAGE])
            )
            found |= {row.key: row.cost_nano_usd for row in connection.execute(query)}
    return found


def shared_calls(db: Database, run_id: str, stage: str) -> dict[str, int]:
    """How many units of the stage rest on one call, for each call on which more than one does."""
    number = func.count()
    query = (
        select(UNITS.c.generation, number)
        .where(UNITS.c.run_id == run_id, UNITS.c.stage == stage, UNITS.c.state == DONE)
        .group_by(UNITS.c.generation)
        .having(number > 1)
    )
    with db.read() as connection:
        return {key: int(count) for key, count in connection.execute(query) if key}


def results(
    db: Database, run_id: str, stage: str, examples: Sequence[int]
) -> dict[tuple[int, str], dict[str, Any]]:
    """What units of the stage stored, by example and variant; of some hundred examples at most."""
    query = select(UNITS.c.example_id, UNITS.c.variant, UNITS.c.result).where(
        UNITS.c.run_id == run_id,
        UNITS.c.example_id.in_(examples),
        UNITS.c.stage == stage,
        UNITS.c.state == DONE,
    )
    with db.read() as connection:
        return {(row.example_id, row.variant): row.result for row in connection.execute(query)}


def failures(db: Database, run_id: str, reason: str | None = None) -> Iterator[ResultRow]:
    """The dead-letter table: units that failed, with the reason."""
    found = iter_rows(db, run_id, stages=STAGES, states=(FAILED,))
    return (row for row in found if reason in (None, row.reason))


def failed_page(db: Database, run_id: str, reason: str | None, after: int, most: int) -> list[ResultRow]:
    """A page of them: the first `most` units whose id is above `after`."""
    wanted = [UNITS.c.run_id == run_id, UNITS.c.split.in_((TRAIN, TEST)), UNITS.c.state == FAILED]
    wanted += [UNITS.c.reason == reason] if reason is not None else []
    query = _select(*wanted, UNITS.c.id > after).order_by(UNITS.c.id).limit(most)
    with db.read() as connection:
        return [_row(found) for found in connection.execute(query)]


def rejected_texts(db: Database, unit_id: int) -> list[tuple[str, str, str | None]]:
    """(reason, detail, raw text) of each answer of a unit that was not accepted, in order."""
    query = (
        select(REJECTIONS.c.reason, REJECTIONS.c.detail, GENERATIONS.c.answer)
        .outerjoin(GENERATIONS, GENERATIONS.c.key == REJECTIONS.c.generation)
        .where(REJECTIONS.c.unit_id == unit_id)
        .order_by(REJECTIONS.c.attempt)
    )
    with db.read() as connection:
        return [(found.reason, found.detail, found.answer) for found in connection.execute(query)]
