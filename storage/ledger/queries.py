"""Units with their examples and answers, for tables, exports and the list of failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import Column, Select, func, select
from sqlalchemy.sql.elements import ColumnElement

from models.core.identity import question_of
from models.core.types import JSON, Request
from storage.database import Database
from storage.ledger.stand_ins import is_stand_in
from storage.schema import DONE, EXAMPLES, FAILED, GENERATIONS, REJECTIONS, RUNS, TEST, TRAIN, UNITS

PAGE = 500


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A unit with its example. `model` and `cost_nano_usd` are those of its answer, `oracle` the ids of the
    right passages, `number` is the example's row."""

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
        """Return the key of the call in which a judge model gave its verdict on a rationale."""
        return (self.result.get("verdict") or {}).get("generation")


def iter_rows(
    db: Database,
    run_id: str,
    *,
    stages: Sequence[str] | None,
    states: Sequence[str] = (DONE,),
    split: str | None = None,
    variant: str | None = None,
    examples: Sequence[int] | None = None,
) -> Iterator[ResultRow]:
    """Yield units in the order of planning, in bounded memory, of all stages if those are None; `examples`
    are a few hundred at most.

    A page is a range of the primary key. The concatenation keeps the database from the index on the run,
    which it would sort again for each page.
    """
    of_run = UNITS.c.run_id if examples is not None else UNITS.c.run_id.concat("")
    query = (
        _select(
            of_run == run_id,
            *([UNITS.c.stage.in_(stages)] if stages is not None else []),
            UNITS.c.state.in_(states),
            *([UNITS.c.split == split] if split else []),
            *([UNITS.c.variant == variant] if variant is not None else []),
            *([UNITS.c.example_id.in_(examples)] if examples is not None else []),
        )
        .order_by(UNITS.c.id)
        .limit(PAGE)
    )
    after, last = _range(db, run_id)
    while True:
        with db.read() as connection:
            page = connection.execute(query.where(UNITS.c.id > after, UNITS.c.id <= last)).all()
        yield from map(_row, page)
        if len(page) < PAGE:
            return
        after = page[-1].id


def _range(db: Database, run_id: str) -> tuple[int, int]:
    """Return the range (after, last) of the ids of the run's units."""
    query = select(func.min(UNITS.c.id), func.max(UNITS.c.id)).where(UNITS.c.run_id == run_id)
    with db.read() as connection:
        first, last = connection.execute(query).one()
    return (first or 1) - 1, last or 0


def _select(*conditions: ColumnElement[bool]) -> Select[Any]:
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
        .where(*conditions)
    )


def _row(row: Any) -> ResultRow:
    values = list(row)
    values[15] = values[15] or {}
    return ResultRow(*values)


def example_ids(db: Database, run_id: str, split: str) -> list[int]:
    """Return the examples of a split, in order."""
    query = (
        select(UNITS.c.example_id)
        .distinct()
        .where(UNITS.c.run_id == run_id, UNITS.c.split == split)
        .order_by(UNITS.c.example_id)
    )
    with db.read() as connection:
        return list(connection.scalars(query))


def questions(db: Database, run_id: str, split: str) -> Iterator[str]:
    """Yield what each row of a split asks, as `question_of` names it, in order, in bounded memory."""
    query = (
        select(EXAMPLES.c.question_id, EXAMPLES.c.has_id, EXAMPLES.c.request)
        .join(RUNS, RUNS.c.dataset == EXAMPLES.c.dataset)
        .where(RUNS.c.id == run_id, EXAMPLES.c.split == split)
        .order_by(EXAMPLES.c.row)
    )
    with db.read() as connection:
        for row in connection.execution_options(yield_per=PAGE).execute(query):
            yield question_of(row.question_id, row.has_id, row.request)


def requests(db: Database, keys: Sequence[str]) -> dict[str, Request]:
    """Return the requests of generations by key."""
    return {key: Request.from_body(body) for key, body in request_bodies(db, keys).items()}


def reasonings(db: Database, keys: Sequence[str]) -> dict[str, str]:
    """Return what the model thought aloud for these generations, by key; those without are left out."""
    return {key: text for key, text in _by_key(db, keys, GENERATIONS.c.reasoning) if text}


def answer_texts(db: Database, keys: Sequence[str]) -> dict[str, str]:
    """Return the texts that models wrote, by key of their generations."""
    return {key: text for key, text in _by_key(db, keys, GENERATIONS.c.answer) if text is not None}


def request_bodies(db: Database, keys: Sequence[str]) -> dict[str, JSON]:
    """Return the requests of generations by key, in the form of `Request.body`."""
    return {key: body for key, body in _by_key(db, keys, GENERATIONS.c.request) if body}


def costs(db: Database, keys: Sequence[str]) -> dict[str, int]:
    """Return the costs of generations by key, in billionths of a dollar."""
    return dict(_by_key(db, keys, GENERATIONS.c.cost_nano_usd))


def _by_key(db: Database, keys: Sequence[str], column: Column[Any]) -> Iterator[tuple[str, Any]]:
    query = select(GENERATIONS.c.key, column)
    with db.read() as connection:
        for start in range(0, len(keys), PAGE):
            page = query.where(GENERATIONS.c.key.in_(keys[start : start + PAGE]))
            yield from ((key, value) for key, value in connection.execute(page))


def columns_of(db: Database, example_ids: Sequence[int]) -> dict[int, JSON]:
    """Return the columns of the data of a few hundred examples."""
    query = select(EXAMPLES.c.id, EXAMPLES.c.columns).where(EXAMPLES.c.id.in_(example_ids))
    with db.read() as connection:
        return {row.id: row.columns or {} for row in connection.execute(query)}


def shared_calls(db: Database, run_id: str, stage: str) -> dict[str, int]:
    """Return how many units of the stage use each call that more than one uses."""
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
    """Return the results of the stage by example and variant, for a few hundred examples at most."""
    query = select(UNITS.c.example_id, UNITS.c.variant, UNITS.c.result).where(
        UNITS.c.run_id == run_id,
        UNITS.c.example_id.in_(examples),
        UNITS.c.stage == stage,
        UNITS.c.state == DONE,
    )
    with db.read() as connection:
        return {(row.example_id, row.variant): row.result for row in connection.execute(query)}


def failures(
    db: Database, run_id: str, reason: str | None = None, stage: str | None = None
) -> Iterator[ResultRow]:
    """Yield the failed units, or those that failed for `reason` or at `stage`; then those whose rows went on,
    which are done."""
    failed = iter_rows(db, run_id, stages=[stage] if stage else None, states=(FAILED,))
    units = chain(failed, _stand_ins(db, run_id))
    return (row for row in units if reason in (None, row.reason) and stage in (None, row.stage))


def _stand_ins(db: Database, run_id: str) -> Iterator[ResultRow]:
    query = _select(is_stand_in(run_id)).order_by(UNITS.c.id).limit(PAGE)
    after = 0
    while True:
        with db.read() as connection:
            page = connection.execute(query.where(UNITS.c.id > after)).all()
        yield from map(_row, page)
        if len(page) < PAGE:
            return
        after = page[-1].id


def failed_page(db: Database, run_id: str, reason: str | None, after: int, limit: int) -> list[ResultRow]:
    """Return a page of `failures`: the first `limit` units whose id is above `after`."""
    conditions = [UNITS.c.run_id == run_id, UNITS.c.split.in_((TRAIN, TEST)), UNITS.c.state == FAILED]
    conditions += [UNITS.c.reason == reason] if reason is not None else []
    query = _select(*conditions, UNITS.c.id > after).order_by(UNITS.c.id).limit(limit)
    with db.read() as connection:
        return [_row(row) for row in connection.execute(query)]


def rejected_texts(db: Database, unit_id: int) -> list[tuple[str, str, str | None]]:
    """Return (reason, detail, raw text) of each rejected answer of a unit, in order."""
    query = (
        select(REJECTIONS.c.reason, REJECTIONS.c.detail, GENERATIONS.c.answer)
        .outerjoin(GENERATIONS, GENERATIONS.c.key == REJECTIONS.c.generation)
        .where(REJECTIONS.c.unit_id == unit_id)
        .order_by(REJECTIONS.c.attempt)
    )
    with db.read() as connection:
        return [(row.reason, row.detail, row.answer) for row in connection.execute(query)]
