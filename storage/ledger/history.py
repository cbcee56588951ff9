"""All that the ledger knows of one example in one run.

What a run was answered, to be recorded (see `models.core.recording`). In bounded memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, union

from models.core.types import JSON, Completion
from storage.database import Database
from storage.ledger.purchases import completion_of_row
from storage.schema import DONE, EXAMPLES, GENERATIONS, REJECTIONS, RUNS, UNITS

# Of so many question ids at most the near ones are looked for.
MAX_COMPARED = 20_000
MAX_SIMILAR = 5


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A generation. `run` bought it; `seconds` is None where it came in a batch or from a recording."""

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
    """An answer that was not accepted; times are seconds since the epoch."""

    attempt: int
    reason: str
    detail: str
    at: float
    call: RecordedCall | None


@dataclass(frozen=True, slots=True)
class UnitHistory:
    """`worker` ended it at `ended`; of units of earlier releases it is not known. What a judge
    model said of a rationale is `judged`."""

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
    """An example of a split with its units, in the order of planning."""

    split: str
    row: int
    question_id: str
    request: str
    reference: str
    oracle: list[str]
    tests: bool
    units: tuple[UnitHistory, ...]


def example_histories(db: Database, run_id: str, question_id: str) -> list[ExampleHistory]:
    """Every example of the run with this id, train before test; none where the run has no such id."""
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
                _units(connection, run_id, row.id),
            )
            for row in connection.execute(query).all()
        ]  # fmt: skip


def similar_question_ids(db: Database, run_id: str, question_id: str) -> list[str]:
    """Ids of the run that look like this one, at most NEAR: those that begin with it first."""
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
    found = connection.execute(
        select(UNITS).where(UNITS.c.run_id == run_id, UNITS.c.example_id == example_id).order_by(UNITS.c.id)
    ).all()
    rejections: defaultdict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(
        select(REJECTIONS)
        .where(REJECTIONS.c.unit_id.in_([unit.id for unit in found]))
        .order_by(REJECTIONS.c.attempt)
    ):
        rejections[row.unit_id].append(row)
    rows = [*found, *(row for of_unit in rejections.values() for row in of_unit)]
    verdicts = {unit.id: (unit.result or {}).get("verdict", {}).get("generation") for unit in found}
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
        for unit in found
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
            yield Generation(row.key, row.stage, row.request, completion_of_row(row), row.cost_nano_usd)


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
