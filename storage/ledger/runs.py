"""Runs and their examples. Every unit of a run is planned before the first is sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import groupby, islice
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from models.core.errors import UsageError
from models.core.experiment.experiment import MUTABLE_KEYS, Experiment
from models.core.pipeline.stages import Slot, eval_slots, train_slots
from models.core.types import Example
from storage import schema
from storage.database import Database
from storage.ledger import budget
from storage.schema import EXAMPLES, RUNS, UNITS

BATCH = 2000
# Keys that decide what a run of growth makes, and keys that change nothing in other runs.
GROWN_FROM: Mapping[str, Any] = {
    **dict.fromkeys(("name", "dataset", "teacher", "grow", "seed", "identity"), True),
    "task": {"prompts": {"grow"}},
}
FOR_GROWTH: Mapping[str, Any] = {
    "grow": True,
    "task": {"prompts": {"grow"}},
    "units_per_task": {"grow"},
}


@dataclass(frozen=True, slots=True)
class Run:
    id: str
    name: str
    state: str
    message: str
    experiment: Experiment
    dataset: str
    planned: int
    created_at: float
    started_at: float
    finished_at: float | None

    @property
    def slots(self) -> dict[str, list[Slot]]:
        return planned_slots(self.experiment)


def planned_slots(experiment: Experiment) -> dict[str, list[Slot]]:
    """Return the units that each example gets, by split."""
    return {schema.TRAIN: train_slots(experiment), schema.TEST: eval_slots(experiment)}


def nano_usd(dollars: float | None) -> int | None:
    """Convert to billionths of a dollar, so that sums stay whole numbers."""
    return None if dollars is None else round(Decimal(str(dollars)) * 10**9)


def dataset_hash(splits: Mapping[str, Iterable[Example]]) -> str:
    """Return the SHA-256 of all rows in order."""
    digest = hashlib.sha256()
    for split, examples in sorted(splits.items()):
        for example in examples:
            row: list[Any] = [
                split,
                example.row,
                example.question_id,
                example.request,
                example.reference,
                example.oracle,
            ]
            if example.tests:
                row.append(asdict(example.tests))
            digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def config_hash(experiment: Experiment, dataset: str) -> str:
    """Return a hash of the experiment and its data, without their paths."""
    if experiment.grow.enabled:
        config = experiment.model_dump(
            mode="json", include=GROWN_FROM, exclude={"dataset": {"path"}, **MUTABLE_KEYS}
        )
    else:
        config = experiment.model_dump(
            mode="json", exclude={"dataset": {"path"}, **FOR_GROWTH, **MUTABLE_KEYS}
        )
        if experiment.rationale.rounds == 1:  # keeps runs that were planned before rounds existed
            del config["rationale"]["rounds"]
    if experiment.identity == "row":  # and before rows had another identity than their number
        del config["identity"]
    return hashlib.sha256(json.dumps([config, dataset], sort_keys=True).encode()).hexdigest()


def find_run(db: Database, experiment: Experiment, dataset: str) -> Run | None:
    """Return the latest run of this experiment on this data. A run that was planned before rows had another
    identity than their number goes on with it."""
    of_before = experiment.model_copy(update={"identity": "row"})
    hashes = [config_hash(each, dataset) for each in (experiment, of_before)]
    query = (
        select(RUNS)
        .where(RUNS.c.config_hash.in_(hashes))
        .order_by(RUNS.c.config_hash == hashes[1], RUNS.c.created_at.desc())
        .limit(1)
    )
    with db.read() as connection:
        row = connection.execute(query).one_or_none()
    return _run(row) if row else None


def load_run(db: Database, run_id: str) -> Run:
    """Return the run with this id or unambiguous prefix of an id. Raise UsageError if there is none."""
    query = select(RUNS).where(RUNS.c.id.startswith(run_id, autoescape=True)).limit(2)
    with db.read() as connection:
        exact = connection.execute(select(RUNS).where(RUNS.c.id == run_id)).one_or_none()
        rows = [exact] if exact else connection.execute(query).all()
    if not rows:
        raise UsageError(f"no run {run_id!r} in {db}; `starmill runs` lists them")
    if len(rows) > 1:
        raise UsageError(f"more than one run begins with {run_id!r}; `starmill runs` lists them")
    return _run(rows[0])


def list_runs(db: Database) -> list[Run]:
    """Return all runs, newest first."""
    with db.read() as connection:
        rows = connection.execute(select(RUNS).order_by(RUNS.c.created_at.desc())).all()
    return [_run(row) for row in rows]


def running_runs(db: Database) -> list[Run]:
    """Return the running runs, oldest first."""
    query = select(RUNS).where(RUNS.c.state == schema.RUNNING).order_by(RUNS.c.created_at)
    with db.read() as connection:
        rows = connection.execute(query).all()
    return [_run(row) for row in rows]


def still_running(db: Database, run_ids: Sequence[str]) -> set[str]:
    """Return those of the runs that are running."""
    query = select(RUNS.c.id).where(RUNS.c.id.in_(run_ids), RUNS.c.state == schema.RUNNING)
    with db.read() as connection:
        return set(connection.scalars(query))


def plan_run(
    db: Database, run_id: str, experiment: Experiment, splits: Mapping[str, Iterable[Example]], now: float
) -> Run:
    """Write the run and all of its units in one transaction."""
    dataset = dataset_hash(splits)
    slots = planned_slots(experiment)
    values = {
        "id": run_id, "name": experiment.name, "state": schema.PLANNED, "message": "",
        "config": experiment.model_dump(mode="json"), "config_hash": config_hash(experiment, dataset),
        "dataset": dataset, "planned": 0, "barrier_open": False, "created_at": now, "started_at": now,
        "budget_nano_usd": nano_usd(experiment.budget_usd), "charged_nano_usd": 0,
    }  # fmt: skip
    with db.write() as connection:
        connection.execute(insert(RUNS).values(values))
        planned = 0
        for split in (schema.TRAIN, schema.TEST):
            ids = _import_examples(connection, dataset, split, splits[split])
            for units in _batches(_units(run_id, split, ids, slots[split])):
                connection.execute(insert(UNITS), units)
                planned += len(units)
        connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(planned=planned))
    return load_run(db, run_id)


def update_mutable(db: Database, run: Run, experiment: Experiment) -> Run:
    """Give the run the mutable keys of `experiment`; all others are equal, but for the identity of rows."""
    experiment = experiment.model_copy(update={"identity": run.experiment.identity})
    if experiment.model_dump(include=set(MUTABLE_KEYS)) != run.experiment.model_dump(
        include=set(MUTABLE_KEYS)
    ):
        values = {
            "config": experiment.model_dump(mode="json"),
            "budget_nano_usd": nano_usd(experiment.budget_usd),
        }
        with db.write() as connection:
            connection.execute(update(RUNS).where(RUNS.c.id == run.id).values(values))
            budget.charge_all(connection, run.id)
    return load_run(db, run.id)


def start_run(db: Database, run_id: str, now: float) -> None:
    """Set the run running, also if it was paused or interrupted."""
    with db.write() as connection:
        connection.execute(
            update(RUNS)
            .where(RUNS.c.id == run_id)
            .values(state=schema.RUNNING, message="", started_at=now, finished_at=None)
        )


def stop_run(db: Database, run_id: str, message: str, *, paused: bool = False) -> bool:
    """Stop claims of the run's units; those in flight are finished. Return False if it was not running."""
    state = schema.PAUSED if paused else schema.INTERRUPTED
    with db.write() as connection:
        stopped = connection.execute(
            update(RUNS)
            .where(RUNS.c.id == run_id, RUNS.c.state == schema.RUNNING)
            .values(state=state, message=message)
        ).rowcount
    return bool(stopped)


def run_state(db: Database, run_id: str) -> tuple[str, str]:
    """Return the state of the run and its message."""
    with db.read() as connection:
        row = connection.execute(select(RUNS.c.state, RUNS.c.message).where(RUNS.c.id == run_id)).one()
    return row.state, row.message


def _import_examples(
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
        }
        for example in examples
    )  # fmt: skip
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    for batch in _batches(rows):
        # Another run on the same data may be planned at the same time.
        connection.execute(dialect.insert(EXAMPLES).on_conflict_do_nothing(), batch)
    return list(connection.scalars(known))


def _units(
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
                "variant": slot.variant, "sample": slot.sample, "queue": slot.queue, "needs": len(slot.after),
                "state": schema.WAITING if slot.after else schema.READY, "attempts": 0, "rejections": 0,
                "budget_from": 0,
            }  # fmt: skip


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _run(row: Any) -> Run:
    # Runs that were planned before experiments had the key keep their seeds.
    experiment = Experiment.model_validate({"identity": "row", **row.config})
    return Run(
        row.id, row.name, row.state, row.message, experiment, row.dataset, row.planned,
        row.created_at, row.started_at, row.finished_at,
    )  # fmt: skip
