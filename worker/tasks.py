"""Celery tasks: a message in, one call. The ledger decides who may execute a unit, and stores its result."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from models.core.kinds import KINDS
from models.core.pipeline.stages import STAGES
from storage.broker import task_name
from storage.logs import OncePerMinute, set_about
from worker import process
from worker.celery import app
from worker.execute_unit import execute_units
from worker.patient_consumer import DROPPED

trouble_log = OncePerMinute(logging.getLogger(__name__))
# The feeder sends far fewer in one message; the column of ids holds no larger number.
MAX_UNITS, MAX_ID = 1000, 2**63 - 1


def named_units(message: object) -> list[int]:
    """Return the units that the arguments (run id, unit ids) of a message name; none if they are no such."""
    match message:
        case (str(), [*unit_ids]) if 0 < len(unit_ids) <= MAX_UNITS:
            units = [each for each in unit_ids if type(each) is int and 0 < each <= MAX_ID]
            return units if len(units) == len(unit_ids) else []
    return []


def _task(kind: str) -> Callable[..., None]:
    def execute(*message: Any, **_: Any) -> None:
        """The run id is for people who watch the queue; units know their run."""
        unit_ids = named_units(message)
        if not unit_ids:
            trouble_log.warning("a message names no units", DROPPED)
            return
        # Not reset: Celery's own log lines after the task are about it. The next task sets its own fields.
        set_about(run=message[0][:100], stage=kind, unit=",".join(map(str, unit_ids)))
        runtime = process.runtime()
        runtime.wait_for(execute_units(runtime, unit_ids))

    task: Callable[..., None] = app.task(name=task_name(kind), acks_late=True)(execute)
    return task


TASKS: dict[str, Callable[..., None]] = {kind: _task(kind) for kind in dict.fromkeys((*STAGES, *KINDS))}
