"""The full history of one example in a run, and all answers of a run for recordings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, union

from models.core.types import JSON, Completion
from storage.database import Database
from storage.ledger.purchases import completion_of_row
from storage.schema import DONE, EXAMPLES, GENERATIONS, REJECTIONS, RUNS, UNITS

# Question ids that are compared when similar ones are looked for.
MAX_COMPARED = 20_000
MAX_SIMILAR = 5


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A generation, bought by `run`. `seconds` is None if it came from a batch or a recording."""

    key: str
    run: str
    model: str
    request: JSON
    text: str | None
    refusal: str | None
    finish_reason: str | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_nano_usd: int
    seconds: float | None
    at: float


@dataclass(frozen=True, slots=True)
class RejectedAnswer:
    """An answer that was not accepted; `at` is in seconds since the epoch."""

    attempt: int
    reason: str
    detail: str
    at: float
    call: RecordedCall | None


@dataclass(frozen=True, slots=True)
class UnitHistory:
    """A unit with its calls. `worker` is None for units of early releases; `judged` is the call in which a
    judge model gave its verdict on a rationale."""

    id: int
    stage: str
    variant: str
    sample: int
    state: str
    reason: str | None
    detail: str | None
    attempts: int
    worker: str | None
    ended: float | None
    result: dict[str, Any]
    call: RecordedCall | None
    rejected: tuple[RejectedAnswer, ...]
    judged: RecordedCall | None = None


@dataclass(frozen=True, slots=True)
class ExampleHistory:
    """An example of a split with its units, in the order of planning. `columns` are all of a section `data`;
    without ids in it, `question_id` is the number of the row."""

    split: str
    row: int
    question_id: str
    request: str
    reference: str
    oracle: list[str]
    tests: bool
    units: tuple[UnitHistory, ...]
    columns: JSON = field(default_factory=dict)
    has_id: bool = True


def example_histories(db: Database, run_id: str, question_id: str) -> list[ExampleHistory]:
    """Return every example of the run with this id, train before test."""
    query = (
        select(EXAMPLES)
        .join(RUNS, RUNS.c.dataset == EXAMPLES.c.dataset)
        .where(RUNS.c.id == run_id, EXAMPLES.c.question_id == question_id)
        .order_by(EXAMPLES.c.split.desc(), EXAMPLES.c.row)
    )
    with db.read() as connection:
        return [
            ExampleHistory(
                row.split, row.row, row.question_id, row.request, row.reference, row.oracle, bool(row.tests),
                _units(connection, run_id, row.id), row.columns or {}, row.has_id is not False,
            )
            for row in connection.execute(query).all()
        ]  # fmt: skip


def similar_question_ids(db: Database, run_id: str, question_id: str) -> list[str]:
    """Return up to MAX_SIMILAR ids of the run that begin with this one, or else look like it."""
    ids = (
        select(EXAMPLES.c.question_id)
        .distinct()
        .join(RUNS, RUNS.c.dataset == EXAMPLES.c.dataset)
        .where(RUNS.c.id == run_id)
    )
    begins = EXAMPLES.c.question_id.startswith(question_id, autoescape=True)
    with db.read() as connection:
        longer = list(
            connection.scalars(ids.where(begins).order_by(EXAMPLES.c.question_id).limit(MAX_SIMILAR))
        )
        known = connection.scalars(ids.limit(MAX_COMPARED)) if not longer else ()
        return longer or get_close_matches(question_id, list(known), MAX_SIMILAR, 0.5)


def _units(connection: Connection, run_id: str, example_id: int) -> tuple[UnitHistory, ...]:
    units = connection.execute(
        select(UNITS).where(UNITS.c.run_id == run_id, UNITS.c.example_id == example_id).order_by(UNITS.c.id)
    ).all()
    rejections: defaultdict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(
        select(REJECTIONS)
        .where(REJECTIONS.c.unit_id.in_([unit.id for unit in units]))
        .order_by(REJECTIONS.c.attempt)
    ):
        rejections[row.unit_id].append(row)
    rows = [*units, *(row for of_unit in rejections.values() for row in of_unit)]
    verdicts = {unit.id: (unit.result or {}).get("verdict", {}).get("generation") for unit in units}
    keys = {*(row.generation for row in rows), *verdicts.values()}
    calls = _calls(connection, {key for key in keys if key})
    return tuple(
        UnitHistory(
            unit.id, unit.stage, unit.variant, unit.sample, unit.state, unit.reason, unit.detail,
            unit.attempts, unit.worker, unit.finished_at, unit.result or {}, calls.get(unit.generation),
            tuple(
                RejectedAnswer(row.attempt, row.reason, row.detail, row.created_at, calls.get(row.generation))
                for row in rejections[unit.id]
            ),
            calls.get(verdicts[unit.id]) if verdicts[unit.id] != unit.generation else None,
        )
        for unit in units
    )  # fmt: skip


def _calls(connection: Connection, keys: Iterable[str]) -> dict[str | None, RecordedCall]:
    query = select(GENERATIONS).where(GENERATIONS.c.key.in_(sorted(keys)), GENERATIONS.c.done.is_(True))
    return {
        row.key: RecordedCall(
            row.key, row.run_id, row.model, row.request, row.answer, row.refusal, row.finish_reason,
            row.prompt_tokens, row.cached_tokens, row.completion_tokens, row.cost_nano_usd,
            row.seconds, row.created_at,
        )
        for row in connection.execute(query)
    }  # fmt: skip


PAGE = 500
# The units of these stages store the verdict of a judge model in their results.
JUDGED = ("rationale", "rationalize")
VERDICT = UNITS.c.result["verdict", "generation"].as_string()


class Generation(NamedTuple):
    """A stored model call. `request` is its body; `cost` is in billionths of a dollar."""

    key: str
    stage: str
    request: JSON
    completion: Completion
    cost: int


class Augmented(NamedTuple):
    """The augmentation of an example; `text` is None if no answer was accepted."""

    split: str
    question_id: str
    text: str | None


def generations(db: Database, run_id: str) -> Iterator[Generation]:
    """Yield all answers that units of the run use or rejected, whichever run bought them, in key order."""
    keys = [
        select(table.c.generation).where(table.c.run_id == run_id, table.c.generation.is_not(None))
        for table in (UNITS, REJECTIONS)
    ]
    keys.append(
        select(VERDICT).where(UNITS.c.run_id == run_id, UNITS.c.stage.in_(JUDGED), VERDICT.is_not(None))
    )
    query = (
        select(GENERATIONS)
        .where(GENERATIONS.c.done.is_(True), GENERATIONS.c.key.in_(union(*keys)))
        .order_by(GENERATIONS.c.key)
    )
    with db.read() as connection:
        for row in connection.execution_options(yield_per=PAGE).execute(query):
            yield Generation(row.key, row.stage, row.request, completion_of_row(row), row.cost_nano_usd)


def augmented(db: Database, run_id: str) -> Iterator[Augmented]:
    """Yield the augmentation of each example, in the order of the dataset."""
    query = (
        select(UNITS.c.split, EXAMPLES.c.question_id, UNITS.c.state, UNITS.c.result)
        .join(EXAMPLES, EXAMPLES.c.id == UNITS.c.example_id)
        .where(UNITS.c.run_id == run_id, UNITS.c.stage == "augment")
        .order_by(UNITS.c.id)
    )
    with db.read() as connection:
        for row in connection.execution_options(yield_per=PAGE).execute(query):
            text = row.result["augmentation"] or None if row.state == DONE else None
            yield Augmented(row.split, row.question_id, text)
