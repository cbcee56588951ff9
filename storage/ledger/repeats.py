"""Examples that share a key with one before them: neither ids nor requests are unique in a dataset."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, Connection, func, select

from storage.database import Database
from storage.schema import EXAMPLES, RUNS


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
