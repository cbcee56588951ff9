"""Runs and their examples. Every unit of a run is planned before the first is sent."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select, update

from models.core.errors import UsageError
from models.core.experiment.experiment import Experiment
from models.core.experiment.identity_keys import MUTABLE_KEYS, drop_later_keys
from models.core.experiment.problems import explain
from models.core.pipeline.graph import Slot
from models.core.pipeline.plan import planned_slots
from models.core.row_values import canonical_text
from models.core.types import Example
from storage import schema
from storage.database import Database
from storage.ledger import budget
from storage.ledger.planned_rows import PlanWriter
from storage.logs import OncePerMinute
from storage.schema import RUNS

trouble_log = OncePerMinute(logging.getLogger(__name__))
# Keys that decide what a run of growth makes, and keys that change nothing in other runs.
GROWN_FROM: Mapping[str, Any] = {
    **dict.fromkeys(("name", "dataset", "teacher", "grow", "seed", "identity"), True),
    "task": {"prompts": {"grow"}},
}
FOR_GROWTH: Mapping[str, Any] = {
    "grow": True,
    "task": {"prompts": {"grow", "export"}},
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


class UnreadableRun(UsageError):
    """A run whose configuration this version cannot read, since another version planned it."""


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
            if example.columns:
                row.append(canonical_text(example.columns))
            digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def config_hash(experiment: Experiment, dataset: str) -> str:
    """Return a hash of the experiment and its rows, wherever these come from."""
    if experiment.grow.enabled:
        config = experiment.model_dump(
            mode="json", include=GROWN_FROM, exclude={"dataset": {"path"}, **MUTABLE_KEYS}
        )
    else:
        config = experiment.model_dump(
            mode="json",
            exclude={"dataset": {"path"}, "data": True, "split": True, **MUTABLE_KEYS, **FOR_GROWTH},
        )
        if experiment.rationale.rounds == 1:  # keeps runs that were planned before rounds existed
            del config["rationale"]["rounds"]
    if experiment.identity == "row":  # and before rows had another identity than their number
        del config["identity"]
    drop_later_keys(config)
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
    """Return the run with this id or unambiguous prefix of an id. Raise UsageError if there is none, or if
    another version planned it."""
    return _run(_find_row(db, run_id))


def find_id(db: Database, run_id: str) -> str:
    """Return the whole id, also of a run that this version cannot read. Raise UsageError if there is none."""
    return str(_find_row(db, run_id).id)


def _find_row(db: Database, run_id: str) -> Any:
    query = select(RUNS).where(RUNS.c.id.startswith(run_id, autoescape=True)).limit(2)
    with db.read() as connection:
        exact = connection.execute(select(RUNS).where(RUNS.c.id == run_id)).one_or_none()
        rows = [exact] if exact else connection.execute(query).all()
    if not rows:
        raise UsageError(f"no run {run_id!r} in {db}; `starmill runs` lists them")
    if len(rows) > 1:
        raise UsageError(f"more than one run begins with {run_id!r}; `starmill runs` lists them")
    return rows[0]


def list_runs(db: Database) -> list[Run]:
    """Return the runs that this version can read, newest first."""
    with db.read() as connection:
        rows = connection.execute(select(RUNS).order_by(RUNS.c.created_at.desc())).all()
    return [run for run in map(_run_or_error, rows) if isinstance(run, Run)]


def unreadable_runs(db: Database) -> dict[str, str]:
    """Return the runs that this version cannot read, and why."""
    with db.read() as connection:
        rows = connection.execute(select(RUNS)).all()
    errors = ((row.id, _run_or_error(row)) for row in rows)
    return {run_id: str(error) for run_id, error in errors if isinstance(error, UnreadableRun)}


def running_runs(db: Database) -> list[Run]:
    """Return the running runs, oldest first. Those that this version cannot read are left to another."""
    query = select(RUNS).where(RUNS.c.state == schema.RUNNING).order_by(RUNS.c.created_at)
    with db.read() as connection:
        rows = connection.execute(query).all()
    running = []
    for run in map(_run_or_error, rows):
        if isinstance(run, Run):
            running.append(run)
        else:
            trouble_log.warning(str(run), "it is left alone")
    return running


def still_running(db: Database, run_ids: Sequence[str]) -> set[str]:
    """Return those of the runs that are running."""
    query = select(RUNS.c.id).where(RUNS.c.id.in_(run_ids), RUNS.c.state == schema.RUNNING)
    with db.read() as connection:
        return set(connection.scalars(query))


def plan_run(
    db: Database,
    run_id: str,
    experiment: Experiment,
    splits: Mapping[str, Iterable[Example]],
    now: float,
    dataset: str = "",
    origin: dict[str, Any] | None = None,
) -> Run:
    """Write all units of the run, and then the run. `dataset` is the hash of the rows, if known."""
    dataset = dataset or dataset_hash(splits)
    slots = planned_slots(experiment)
    values = {
        "id": run_id, "name": experiment.name, "state": schema.PLANNED, "message": "",
        "config": experiment.model_dump(mode="json"), "config_hash": config_hash(experiment, dataset),
        "dataset": dataset, "barrier_open": False, "created_at": now, "started_at": now,
        "budget_nano_usd": nano_usd(experiment.budget_usd), "charged_nano_usd": 0, "origin": origin,
    }  # fmt: skip
    writer = PlanWriter(db, run_id)
    try:
        for split in (schema.TRAIN, schema.TEST):
            ids = writer.import_examples(dataset, split, splits[split])
            writer.add_units(split, ids, slots[split])
        writer.publish(values)
    except BaseException:
        writer.discard()
        raise
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


def run_origin(db: Database, run_id: str) -> tuple[str, dict[str, Any]]:
    """Return the hash of the run's configuration, and its origin; that is empty in ledgers of before."""
    with db.read() as connection:
        query = select(RUNS.c.config_hash, RUNS.c.origin).where(RUNS.c.id == run_id)
        row = connection.execute(query).one()
    return row.config_hash, row.origin or {}


def _run(row: Any) -> Run:
    try:
        # Runs that were planned before experiments had the key keep their seeds.
        experiment = Experiment.model_validate({"identity": "row", **row.config})
    except ValidationError as error:
        path, problem = explain(error, Experiment)
        key = ".".join(map(str, path))
        raise UnreadableRun(
            f"run {row.id} was planned by another version of Starmill, which this one cannot read "
            f"({key}: {problem}); use that version for it"
        ) from None
    return Run(
        row.id, row.name, row.state, row.message, experiment, row.dataset, row.planned,
        row.created_at, row.started_at, row.finished_at,
    )  # fmt: skip


def _run_or_error(row: Any) -> Run | UnreadableRun:
    try:
        return _run(row)
    except UnreadableRun as error:
        return error
