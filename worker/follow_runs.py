"""A step of Celery's worker: serve the queues of all running runs, also of runs that start later."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from celery import bootsteps
from sqlalchemy.exc import SQLAlchemyError

from models.core.pipeline.plan import queues
from storage.ledger import runs
from storage.ledger.runs import Run
from storage.logs import OncePerMinute
from storage.service_errors import cause, database_trouble
from worker import process

log = logging.getLogger(__name__)
trouble_log = OncePerMinute(log)
LOOK_SECONDS = 1.0


class FollowRuns(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Active with the option `--follow-runs`. A queue that was served once stays served."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, follow_runs: bool = False, **options: Any) -> None:
        super().__init__(consumer, **options)
        self.enabled = follow_runs
        self._served: set[str] = set()
        self._thread: threading.Thread | None = None

    def start(self, consumer: Any) -> None:
        """Called at the start, and after each loss of the connection."""
        self._served = set()
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._follow, args=(consumer,), name="follow-runs", daemon=True
            )
            self._thread.start()

    def stop(self, consumer: Any) -> None:
        """Leave the thread alone, which ends with the process."""

    def _follow(self, consumer: Any) -> None:
        while True:
            try:
                self._serve(consumer, runs.running_runs(process.runtime().db))
            except SQLAlchemyError as error:
                trouble_log.warning(database_trouble(error) or cause(error), "new runs wait for this worker")
            time.sleep(LOOK_SECONDS)

    def _serve(self, consumer: Any, running: list[Run]) -> None:
        wanted = {queue for run in running for queue in queues(run.experiment)}
        for queue in sorted(wanted - self._served):
            log.info("serving %s", queue)
            consumer.call_soon(consumer.add_task_queue, queue)
        self._served |= wanted
