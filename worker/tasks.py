"""Celery tasks: a message in, one call. Who may do the work, and what came of it, stands in the ledger."""

from __future__ import annotations

from collections.abc import Callable

from models.core.pipeline.stages import STAGES
from storage.broker import task_name
from storage.logs import set_about
from worker import process
from worker.celery import app
from worker.execute_unit import execute_units


def _task(stage: str) -> Callable[..., None]:
    def unit(run_id: str, unit_ids: list[int]) -> None:
        """`run_id` is there for people who watch the queue; the units know their run."""
        # Not taken back: what Celery says in this thread after the task is about it. The next sets its own.
        set_about(run=run_id, stage=stage, unit=",".join(map(str, unit_ids)))
        runtime = process.runtime()
        runtime.wait_for(execute_units(runtime, unit_ids))

    task: Callable[..., None] = app.task(name=task_name(stage), acks_late=True)(unit)
    return task


TASKS: dict[str, Callable[..., None]] = {stage: _task(stage) for stage in STAGES}
