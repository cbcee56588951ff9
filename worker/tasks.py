"""Celery tasks: a message in, one call. The ledger decides who may execute a unit, and stores its result."""

from __future__ import annotations

from collections.abc import Callable

from models.core.pipeline.stages import STAGES
from storage.broker import task_name
from storage.logs import set_about
from worker import process
from worker.celery import app
from worker.execute_unit import execute_units


def _task(stage: str) -> Callable[..., None]:
    def execute(run_id: str, unit_ids: list[int]) -> None:
        """`run_id` is for people who watch the queue; units know their run."""
        # Not reset: Celery's own log lines after the task are about it. The next task sets its own fields.
        set_about(run=run_id, stage=stage, unit=",".join(map(str, unit_ids)))
        runtime = process.runtime()
        runtime.wait_for(execute_units(runtime, unit_ids))

    task: Callable[..., None] = app.task(name=task_name(stage), acks_late=True)(execute)
    return task


TASKS: dict[str, Callable[..., None]] = {stage: _task(stage) for stage in STAGES}
