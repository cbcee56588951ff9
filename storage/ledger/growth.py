"""What is grown in a run: the seeds that are shown, and the candidates in the order of the gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from models.growth.gate import Candidate, Gate
from models.growth.naming import grown_name, seed_name
from models.rounds import round_of
from storage.database import Database
from storage.ledger.examples import examples
from storage.ledger.planning import Run
from storage.ledger.rows import rows
from storage.schema import EXAMPLES, TEST, TRAIN


@dataclass(frozen=True, slots=True)
class Shown:
    """An example that a prompt shows; `name` is that of a train row or of a grown pair."""

    name: str
    request: str
    answer: str


@dataclass(frozen=True, slots=True)
class Grown:
    """A candidate and where it comes from: the call, its model, its round from 1, its anchor's train row."""

    candidate: Candidate
    generation: str
    model: str
    round: int
    row: int


def seeds(db: Database, run: Run) -> list[int]:
    """The examples of the train split, each at the place of its row."""
    query = (
        select(EXAMPLES.c.id)
        .where(EXAMPLES.c.dataset == run.dataset, EXAMPLES.c.split == TRAIN)
        .order_by(EXAMPLES.c.row)
    )
    with db.read() as connection:
        return list(connection.scalars(query))


def shown(db: Database, example_ids: Sequence[int]) -> list[Shown]:
    """The examples in the order of `example_ids`; a few dozen at most."""
    query = select(EXAMPLES).where(EXAMPLES.c.id.in_(example_ids))
    with db.read() as connection:
        found = {
            row.id: Shown(seed_name(row.split, row.row), row.request, row.reference)
            for row in connection.execute(query)
        }
    return [found[example_id] for example_id in example_ids]


def gate(db: Database, run: Run) -> Gate:
    """A gate that knows the run's dataset and no candidate yet."""

    def named(split: str) -> Iterator[tuple[str, str]]:
        return ((seed_name(split, each.row), each.request) for each in examples(db, run.id, split))

    return Gate(run.experiment.grow, named(TRAIN), named(TEST))


def candidates(db: Database, run: Run, rounds: int) -> Iterator[Grown]:
    """Those of the first `rounds` rounds, by round, train row, sample and place, whoever wrote them when."""
    for number in range(1, rounds + 1):
        # Units are planned row by row, and within a row by sample.
        for row in rows(db, run.id, stages=["grow"]):
            if round_of(row.variant) != number:
                continue
            of_unit = tuple(row.result["shown"])
            for place, (request, answer, flaw) in enumerate(row.result["pairs"], 1):
                candidate = Candidate(grown_name(row.unit_id, place), request, answer, flaw, of_unit)
                yield Grown(candidate, row.generation or "", row.model or "", number, row.number)
