"""The examples of a run, their repeats, and what a run of growth made from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, case, cast, func, select

from models.core.growth import GrowthCandidate, GrowthFilter, grown_name, seed_name
from models.core.identity import question_of, row_identity
from models.core.pipeline.rounds import in_round
from models.core.row_values import canonical_text, look_up
from models.core.types import Example
from storage.database import Database
from storage.ledger.queries import iter_rows
from storage.ledger.runs import Run
from storage.schema import EXAMPLES, RUNS, TEST, TRAIN

PAGE = 1000


def examples(db: Database, run_id: str, split: str) -> Iterator[Example]:
    """Yield the examples of a split in order, without their tests, in bounded memory."""
    of_run = select(RUNS.c.dataset).where(RUNS.c.id == run_id).scalar_subquery()
    query = (
        select(EXAMPLES)
        .where(EXAMPLES.c.dataset == of_run, EXAMPLES.c.split == split)
        .order_by(EXAMPLES.c.row)
        .limit(PAGE)
    )
    last = -1
    while True:
        with db.read() as connection:
            page = connection.execute(query.where(EXAMPLES.c.row > last)).all()
        for row in page:
            yield Example(
                row.row, row.question_id, row.request, row.reference, tuple(row.oracle),
                columns=row.columns or {},
            )  # fmt: skip
        if len(page) < PAGE:
            return
        last = page[-1].row


@dataclass(frozen=True, slots=True)
class Repeats:
    """Examples that repeat the id, or the request, of an earlier one: neither is unique in a dataset.

    Each maps an example (its id in the ledger) to the number of such earlier examples of its split; first
    examples are left out.
    """

    of_id: dict[int, int]
    of_request: dict[int, int]


def repeats(db: Database, run_id: str) -> Repeats:
    """Count the repeats of all examples of a run."""
    with db.read() as connection:
        dataset = connection.execute(select(RUNS.c.dataset).where(RUNS.c.id == run_id)).scalar_one()
        return Repeats(
            _repeats(connection, dataset, EXAMPLES.c.question_id),
            _repeats(connection, dataset, EXAMPLES.c.request),
        )


def equal_rows(db: Database, dataset: str) -> dict[int, int]:
    """Return the examples that have the request and the reference of earlier ones of their split, or without
    a request the columns, and how many those are."""
    # A ledger of PostgreSQL does not compare JSON.
    columns = case((EXAMPLES.c.request == "", cast(EXAMPLES.c.columns, Text)), else_=None)
    with db.read() as connection:
        return _repeats(connection, dataset, EXAMPLES.c.request, EXAMPLES.c.reference, columns)


def train_identities(db: Database, dataset: str, repeats: Mapping[int, int]) -> list[tuple[int, str]]:
    """Return the examples of the train split and their identities, in order; `repeats` are `equal_rows`."""
    read = (EXAMPLES.c.id, EXAMPLES.c.request, EXAMPLES.c.reference, EXAMPLES.c.columns)
    query = select(*read).where(EXAMPLES.c.dataset == dataset, EXAMPLES.c.split == TRAIN)
    with db.read() as connection:
        rows = connection.execution_options(yield_per=PAGE).execute(query.order_by(EXAMPLES.c.row))
        return [
            (row.id, row_identity(row.request, row.reference, repeats.get(row.id, 0), row.columns))
            for row in rows
        ]


def earlier_rows_of_ids(db: Database, dataset: str, split: str) -> frozenset[int]:
    """Return the examples of a split that share the id that the data gives them with a later example."""
    later = func.row_number().over(partition_by=EXAMPLES.c.question_id, order_by=EXAMPLES.c.row.desc())
    numbered = select(EXAMPLES.c.id, later.label("from_last")).where(
        EXAMPLES.c.dataset == dataset, EXAMPLES.c.split == split, EXAMPLES.c.has_id.is_not(False)
    )
    counted = numbered.subquery()
    with db.read() as connection:
        return frozenset(connection.scalars(select(counted.c.id).where(counted.c.from_last > 1)))


def question_labels(db: Database, dataset: str, split: str, column: str = "") -> dict[int, str]:
    """Return the question of each example of a split, which clusters its rows, by its id in the ledger.

    Rows with an equal value of `column` are one question. Without it, and where a row has no value, the
    question is that of `question_of`: all phrasings of one share it, and so do equal requests without ids.
    """
    read = (EXAMPLES.c.id, EXAMPLES.c.question_id, EXAMPLES.c.has_id, EXAMPLES.c.request)
    columns = [EXAMPLES.c.columns] if column else []
    query = select(*read, *columns).where(EXAMPLES.c.dataset == dataset, EXAMPLES.c.split == split)
    with db.read() as connection:
        rows = connection.execution_options(yield_per=PAGE).execute(query.order_by(EXAMPLES.c.row))
        return {
            row.id: (value_label(row.columns, column) if column else None)
            or question_of(row.question_id, row.has_id, row.request)
            for row in rows
        }


def value_label(columns: Mapping[str, Any] | None, column: str) -> str | None:
    """Return a text of the column's value, None without one."""
    try:
        value = look_up(columns or {}, column)
    except KeyError:
        return None
    return None if value is None or value == "" else canonical_text({column: value})


def _repeats(connection: Connection, dataset: str, *keys: ColumnElement[Any]) -> dict[int, int]:
    number = func.row_number().over(partition_by=(EXAMPLES.c.split, *keys), order_by=EXAMPLES.c.row)
    numbered = select(EXAMPLES.c.id, (number - 1).label("before")).where(EXAMPLES.c.dataset == dataset)
    counted = numbered.subquery()
    query = select(counted.c.id, counted.c.before).where(counted.c.before > 0)
    return {row.id: row.before for row in connection.execute(query)}


@dataclass(frozen=True, slots=True)
class SeedExample:
    """An example that a prompt shows; `name` names a train row or a grown pair."""

    name: str
    request: str
    answer: str


@dataclass(frozen=True, slots=True)
class GrownCandidate:
    """A candidate and its origin: the call, its model, its round from 1, its anchor's train row."""

    candidate: GrowthCandidate
    generation: str
    model: str
    round: int
    row: int


def seed_ids(db: Database, run: Run) -> list[int]:
    """Return the ids of the train examples in the order of their rows."""
    query = (
        select(EXAMPLES.c.id)
        .where(EXAMPLES.c.dataset == run.dataset, EXAMPLES.c.split == TRAIN)
        .order_by(EXAMPLES.c.row)
    )
    with db.read() as connection:
        return list(connection.scalars(query))


def seed_examples(db: Database, example_ids: Sequence[int]) -> list[SeedExample]:
    """Return the examples in the order of `example_ids`, a few dozen at most."""
    query = select(EXAMPLES).where(EXAMPLES.c.id.in_(example_ids))
    with db.read() as connection:
        by_id = {
            row.id: SeedExample(seed_name(row.split, row.row), row.request, row.reference)
            for row in connection.execute(query)
        }
    return [by_id[example_id] for example_id in example_ids]


def growth_filter(db: Database, run: Run) -> GrowthFilter:
    """Return a filter that knows the run's dataset and no candidate yet."""

    def named(split: str) -> Iterator[tuple[str, str]]:
        return ((seed_name(split, each.row), each.request) for each in examples(db, run.id, split))

    return GrowthFilter(run.experiment.grow, named(TRAIN), named(TEST))


def candidates(db: Database, run: Run, rounds: int) -> Iterator[GrownCandidate]:
    """Yield the candidates of the first `rounds` rounds, by round, train row, sample and pair."""
    for number in range(1, rounds + 1):
        yield from candidates_of_round(db, run, number)


def candidates_of_round(db: Database, run: Run, number: int) -> Iterator[GrownCandidate]:
    """Yield the candidates of one round, and read no other."""
    # Units are planned row by row, and within a row by sample.
    for row in iter_rows(db, run.id, stages=["grow"], variant=in_round(number)):
        of_unit = tuple(row.result["shown"])
        for pair, (request, answer, flaw) in enumerate(row.result["pairs"], 1):
            candidate = GrowthCandidate(grown_name(row.unit_id, pair), request, answer, flaw, of_unit)
            yield GrownCandidate(candidate, row.generation or "", row.model or "", number, row.number)
