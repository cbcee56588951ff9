"""A worker in this process that does all units of a pipeline of steps, against a real ledger, real limits and
a real model server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from models.core.experiment.experiment import Experiment
from models.core.pipeline.plan import queues, rows_per_call, units_per_task
from models.core.types import Example
from storage.database import Database
from storage.ledger import runs, scheduling
from storage.ledger.runs import Run
from storage.ledger.scheduling import SendableUnit
from storage.schema import EXAMPLES, GENERATIONS, READY, REJECTIONS, TEST, TRAIN, UNITS
from storage.settings import Settings
from tests.support.batch_run import RUN
from tests.support.clock import Clock
from tests.support.small_run import take_sendable
from worker.execute_unit import execute_units
from worker.runtime import Runtime

Columns = dict[str, Any]


@dataclass(frozen=True)
class StepWorker:
    """`runtime` is the worker. A run is planned once, and its units are done as the feeder sends them."""

    runtime: Runtime
    clock: Clock
    url: str

    def plan(self, rows: Sequence[Columns], steps: dict[str, Any], **teacher: Any) -> Run:
        model = {"backend": "openai", "base_url": self.url, "api_key_env": "NO_KEY", "max_concurrency": 8}
        config = {
            "name": "steps",
            "data": "rows.csv",
            "teacher": {**model, "model": "writer", **teacher},
            "models": {"critic": {**model, "model": "reader"}},
            "steps": steps,
        }
        db, now = self.runtime.db, self.runtime.clock()
        examples = [
            Example(row, str(row), "", str(columns.get("reference", "")), has_id=False, columns=columns)
            for row, columns in enumerate(rows)
        ]
        splits = {TRAIN: examples, TEST: list[Example]()}
        runs.plan_run(db, RUN, Experiment.model_validate(config), splits, now)
        runs.start_run(db, RUN, now)
        return runs.load_run(db, RUN)

    def work(self, until: Callable[[], bool] = lambda: False) -> None:
        """Do what is ready until nothing is left."""
        run = runs.load_run(self.runtime.db, RUN)
        starts = scheduling.group_start_units(self.runtime.db, run)
        grouped = rows_per_call(run.experiment)
        while tasks := [
            task for queue in queues(run.experiment) for task in self._take(run, queue, starts, list(grouped))
        ]:
            for task in tasks:
                if until():
                    return
                self.runtime.wait_for(execute_units(self.runtime, [unit.unit_id for unit in task]))

    def _take(
        self, run: Run, queue: str, starts: frozenset[int], grouped: Sequence[str]
    ) -> Iterator[list[SendableUnit]]:
        db, now = self.runtime.db, self.runtime.clock()
        by_stage: dict[str, list[list[SendableUnit]]] = {}
        for unit in take_sendable(db, RUN, queue, 64, now, 1e9, starts, grouped):
            tasks = by_stage.setdefault(unit.stage, [[]])
            size = units_per_task(run.experiment, unit.stage)
            if len(tasks[-1]) == size or (unit.stage in grouped and unit.unit_id in starts):
                tasks.append([])
            tasks[-1].append(unit)
        return (task for tasks in by_stage.values() for task in tasks if task)

    def forget_ends(self) -> None:
        """Make every unit ready again, as if the worker had been killed before it could end them; what was
        bought and rejected stays."""
        ready = {"state": READY, "result": None, "sent_at": None, "finished_at": None}
        with self.runtime.db.write() as connection:
            connection.execute(update(UNITS).where(UNITS.c.run_id == RUN).values(ready))

    def units(self) -> dict[tuple[int, str, int], Any]:
        return units_by_row(self.runtime.db, RUN)

    def values(self, step: str) -> list[Any]:
        """The values of the column of a step without samples."""
        made = {row: unit.result for (row, stage, _), unit in self.units().items() if stage == step}
        return [result and result["value"] for _, result in sorted(made.items())]

    def requests(self) -> list[dict[str, Any]]:
        """The calls whose answers are committed."""
        with self.runtime.db.read() as connection:
            query = (
                select(GENERATIONS.c.request).where(GENERATIONS.c.done.is_(True)).order_by(GENERATIONS.c.key)
            )
            return list(connection.scalars(query))

    def rejections(self) -> list[tuple[str, str]]:
        with self.runtime.db.read() as connection:
            query = select(REJECTIONS.c.stage, REJECTIONS.c.reason).order_by(REJECTIONS.c.unit_id)
            return [(row.stage, row.reason) for row in connection.execute(query)]


def units_by_row(db: Database, run: str) -> dict[tuple[int, str, int], Any]:
    """Return the units of a run by row, step and sample."""
    joined = select(UNITS, EXAMPLES.c.row).join(EXAMPLES, EXAMPLES.c.id == UNITS.c.example_id)
    with db.read() as connection:
        ended = connection.execute(joined.where(UNITS.c.run_id == run))
        return {(unit.row, unit.stage, unit.sample): unit for unit in ended}


@contextmanager
def step_worker(home: Path, redis_url: str, url: str) -> Iterator[StepWorker]:
    clock = Clock(time.time())
    runtime = Runtime(Settings(home=home, redis_url=redis_url), clock=clock)
    runtime.db.migrate()
    try:
        yield StepWorker(runtime, clock, url)
    finally:
        runtime.close()
        runtime._loop.close()  # a worker leaves that to the end of its process
