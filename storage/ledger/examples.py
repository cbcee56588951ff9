"""The examples of a run as its dataset gave them.

Examples that share a key with one before them: neither ids nor requests are unique in a dataset.

What is grown in a run: the seeds that are shown, and the candidates in the order of the gate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Column, Connection, func, select

from models.core.growth import GrowthCandidate, GrowthFilter, grown_name, seed_name
from models.core.pipeline.rounds import round_of
from models.core.types import Example
from storage.database import Database
from storage.ledger.queries import iter_rows
from storage.ledger.runs import Run
from storage.schema import EXAMPLES, RUNS, TEST, TRAIN

PAGE = 1000


def examples(db: Database, run_id: str, split: str) -> Iterator[Example]:
    """Of one split, in order, in bounded memory; without their tests."""
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
            yield Example(row.row, row.question_id, row.request, row.reference, tuple(row.oracle))
        if len(page) < PAGE:
            return
        last = page[-1].row


@dataclass(frozen=True, slots=True)
class Repeats:
    """How many examples of its split come before an example with the same id, and with the same request, by
    the number of the example in the ledger; an example that is not there is the first."""

    of_id: dict[int, int]
    of_request: dict[int, int]


def repeats(db: Database, run_id: str) -> Repeats:
    """Of all examples of a run."""
    with db.read() as connection:
        dataset = connection.execute(select(RUNS.c.dataset).where(RUNS.c.id == run_id)).scalar_one()
        return Repeats(
            _repeats(connection, dataset, EXAMPLES.c.question_id),
            _repeats(connection, dataset, EXAMPLES.c.request),
        )


def _repeats(connection: Connection, dataset: str, key: Column[str]) -> dict[int, int]:
    number = func.row_number().over(partition_by=(EXAMPLES.c.split, key), order_by=EXAMPLES.c.row)
    numbered = select(EXAMPLES.c.id, (number - 1).label("before")).where(EXAMPLES.c.dataset == dataset)
    counted = numbered.subquery()
    query = select(counted.c.id, counted.c.before).where(counted.c.before > 0)
    return {row.id: row.before for row in connection.execute(query)}


@dataclass(frozen=True, slots=True)
class SeedExample:
    """An example that a prompt shows; `name` is that of a train row or of a grown pair."""

    name: str
    request: str
    answer: str


@dataclass(frozen=True, slots=True)
class GrownCandidate:
    """A candidate and where it comes from: the call, its model, its round from 1, its anchor's train row."""

    candidate: GrowthCandidate
    generation: str
    model: str
    round: int
    row: int


def seed_ids(db: Database, run: Run) -> list[int]:
    """The examples of the train split, each at the place of its row."""
    query = (
        select(EXAMPLES.c.id)
        .where(EXAMPLES.c.dataset == run.dataset, EXAMPLES.c.split == TRAIN)
        .order_by(EXAMPLES.c.row)
    )
    with db.read() as connection:
        return list(connection.scalars(query))


def seed_examples(db: Database, example_ids: Sequence[int]) -> list[SeedExample]:
    """The examples in the order of `example_ids`; a few dozen at most."""
    query = select(EXAMPLES).where(EXAMPLES.c.id.in_(example_ids))
    with db.read() as connection:
        found = {
            row.id: SeedExample(seed_name(row.split, row.row), row.request, row.reference)
            for row in connection.execute(query)
        }
    return [found[example_id] for example_id in example_ids]


def growth_filter(db: Database, run: Run) -> GrowthFilter:
    """A gate that knows the run's dataset and no candidate yet."""

    def named(split: str) -> Iterator[tuple[str, str]]:
        return ((seed_name(split, each.row), each.request) for each in examples(db, run.id, split))

    return GrowthFilter(run.experiment.grow, named(TRAIN), named(TEST))


def candidates(db: Database, run: Run, rounds: int) -> Iterator[GrownCandidate]:
    """Those of the first `rounds` rounds, by round, train row, sample and place, whoever wrote them when."""
    for number in range(1, rounds + 1):
        # Units are planned row by row, and within a row by sample.
        for row in iter_rows(db, run.id, stages=["grow"]):
            if round_of(row.variant) != number:
                continue
            of_unit = tuple(row.result["shown"])
            for place, (request, answer, flaw) in enumerate(row.result["pairs"], 1):
                candidate = GrowthCandidate(grown_name(row.unit_id, place), request, answer, flaw, of_unit)
                yield GrownCandidate(candidate, row.generation or "", row.model or "", number, row.number)
