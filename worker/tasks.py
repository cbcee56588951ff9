"""Celery tasks: a message in, one call. Who may do the work, and what came of it, stands in the ledger."""

from __future__ import annotations

from collections.abc import Callable

from models.stages import STAGES
from storage.broker import task_name
from worker import lifecycle
from worker.celery import app
from worker.life import live


def _work(run_id: str, unit_ids: list[int]) -> None:
    """`run_id` is there for people who watch the queue; the units know their run."""
    runtime = lifecycle.runtime()
    runtime.wait_for(live(runtime, unit_ids))


TASKS: dict[str, Callable[..., None]] = {
    stage: app.task(name=task_name(stage), acks_late=True)(_work) for stage in STAGES
}
