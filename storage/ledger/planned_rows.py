"""Write a new run in short transactions, so that nobody waits for a plan of a million units.

Nobody sees a run before its own row, which comes last. Its planner holds a lease, like a worker: what it
wrote is safe from deletions meanwhile, and what a killed planner left goes with the next deletion.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import groupby, islice
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from models.core.errors import ServiceError
from models.core.pipeline.graph import Slot
from models.core.types import Example
from storage import schema
from storage.database import Database
from storage.ledger.counters import count_planned
from storage.ledger.deletion import delete_leftovers
from storage.ledger.example_lock import lock_examples
from storage.ledger.leases import end_lease, extend_lease, planner_name
from storage.schema import EXAMPLES, LEASES, RUNS, UNITS

BATCH = 2000
# A transaction takes less than a second; with SQLite it may wait a minute for others.
PLANNER_SECONDS = 300.0


class PlanWriter:
    """Writes examples and units of the run `run_id`, and then the run itself."""

    def __init__(self, db: Database, run_id: str) -> None:
        self._db = db
        self._run_id = run_id
        self._planner = planner_name(run_id)
        extend_lease(db, self._planner, db.clock(), PLANNER_SECONDS)
        self.planned = 0

    def import_examples(self, dataset: str, split: str, examples: Iterable[Example]) -> array[int]:
        """Write the rows of a split, unless the ledger has them all, and return their ids in order."""
        of_split = (EXAMPLES.c.dataset == dataset, EXAMPLES.c.split == split)
        with self._db.read() as connection:
            known = connection.execute(select(func.count()).where(*of_split)).scalar_one()
        # A planner that was killed may have left a part of them.
        if not known or known != sum(1 for _ in examples):
            dialect = sqlite if self._db.is_sqlite else postgresql
            for batch in in_batches(_example_rows(dataset, split, examples)):
                with self._write() as connection:
                    # Another run on the same data may be planned at the same time.
                    connection.execute(dialect.insert(EXAMPLES).on_conflict_do_nothing(), batch)
        return self._ids(select(EXAMPLES.c.id).where(*of_split).order_by(EXAMPLES.c.row))

    def add_units(self, split: str, example_ids: Sequence[int], slots: list[Slot]) -> None:
        for units in in_batches(unit_rows(self._run_id, split, example_ids, slots)):
            with self._write() as connection:
                connection.execute(insert(UNITS), units)
                count_planned(connection, units)
            self.planned += len(units)

    def publish(self, values: Mapping[str, Any]) -> None:
        """Write the row of the run, by which everybody sees it."""
        with self._write() as connection:
            connection.execute(insert(RUNS).values(**values, planned=self.planned))
        end_lease(self._db, self._planner)

    def discard(self) -> None:
        """Delete what was written."""
        end_lease(self._db, self._planner)
        delete_leftovers(self._db, self._db.clock())

    def _ids(self, query: Select[Any]) -> array[int]:
        with self._db.read() as connection:
            rows = connection.execution_options(yield_per=BATCH).execute(query)
            return array("q", (row[0] for row in rows))

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """Write in one transaction, and go on holding the lease. Raise ServiceError if it has ended: what was
        written may be gone."""
        with self._db.write() as connection:
            lock_examples(connection, shared=True)
            now = self._db.clock()
            held = (
                update(LEASES)
                .where(LEASES.c.owner == self._planner, LEASES.c.expires_at >= now)
                .values(expires_at=now + PLANNER_SECONDS)
            )
            if not connection.execute(held).rowcount:
                raise ServiceError(
                    f"planning run {self._run_id} stood still for {PLANNER_SECONDS:,.0f} s; start it again"
                )
            yield connection


def _example_rows(dataset: str, split: str, examples: Iterable[Example]) -> Iterator[dict[str, Any]]:
    for example in examples:
        yield {
            "dataset": dataset, "split": split, "row": example.row, "question_id": example.question_id,
            "has_id": example.has_id, "request": example.request, "reference": example.reference,
            "oracle": list(example.oracle),
            "tests": asdict(example.tests) if example.tests else None,
            "columns": dict(example.columns) or None,
        }  # fmt: skip


def unit_rows(
    run_id: str, split: str, example_ids: Sequence[int], slots: list[Slot]
) -> Iterator[dict[str, Any]]:
    """Yield units in the order in which they are fed.

    Rows come one after the other, so that the first are finished first. Slots whose prompts begin alike come
    cell by cell, so that a server finds the beginning in its cache.
    """
    alike = groupby((slot for slot in slots if slot.together), lambda slot: (slot.variant, slot.sample))
    turns = [[slot for slot in slots if not slot.together], *(list(cell) for _, cell in alike)]
    for turn, example_id in ((turn, example_id) for turn in turns for example_id in example_ids):
        for slot in turn:
            yield {
                "run_id": run_id, "example_id": example_id, "split": split, "stage": slot.stage,
                "kind": slot.kind or None,
                "variant": slot.variant, "sample": slot.sample, "queue": slot.queue, "needs": len(slot.after),
                "state": schema.WAITING if slot.after else schema.READY, "attempts": 0, "rejections": 0,
                "budget_from": 0,
            }  # fmt: skip


def in_batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch
