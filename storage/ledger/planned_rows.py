"""The rows that a new run brings: examples, unless the ledger has them, and units."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby, islice
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from models.core.pipeline.graph import Slot
from models.core.types import Example
from storage import schema
from storage.schema import EXAMPLES

BATCH = 2000


def import_examples(
    connection: Connection, dataset: str, split: str, examples: Iterable[Example]
) -> list[int]:
    known = (
        select(EXAMPLES.c.id)
        .where(EXAMPLES.c.dataset == dataset, EXAMPLES.c.split == split)
        .order_by(EXAMPLES.c.row)
    )
    ids = list(connection.scalars(known))
    if ids:
        return ids
    rows = (
        {
            "dataset": dataset, "split": split, "row": example.row, "question_id": example.question_id,
            "has_id": example.has_id, "request": example.request, "reference": example.reference,
            "oracle": list(example.oracle),
            "tests": asdict(example.tests) if example.tests else None,
            "columns": dict(example.columns) or None,
        }
        for example in examples
    )  # fmt: skip
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    for batch in in_batches(rows):
        # Another run on the same data may be planned at the same time.
        connection.execute(dialect.insert(EXAMPLES).on_conflict_do_nothing(), batch)
    return list(connection.scalars(known))


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
