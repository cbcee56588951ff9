"""The feeder: sends what the ledger says is ready and nobody has, and keeps the queues short.

It is feeder and reconciler in one. A message that was lost, with Redis or with a worker, is a ready unit
without a live lease: it is sent again after `PATIENCE` seconds, no matter why it was lost.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from models.errors import UsageError
from models.stages import queues
from storage.broker import Queues, celery_settings, task_name
from storage.database import Database
from storage.ledger import feeding
from storage.ledger.planning import Run
from storage.settings import Settings

log = logging.getLogger(__name__)
PATIENCE = 10.0
LEADER_LEASE = 15.0


class Feeder:
    """Feeds one run. `tick` is called a few times a second; `clock` gives seconds since the epoch."""

    def __init__(
        self, db: Database, run: Run, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self.db = db
        self.run = run
        self.clock = clock
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._window = settings.queue_window
        self._queues = queues(run.experiment)
        self._redis = Queues(settings.broker)
        self._celery = Celery("starmill", set_as_current=False)
        self._celery.conf.update(celery_settings(settings))
        self._units_per_task: dict[str, int] = run.experiment.units_per_task.model_dump()
        batch = run.experiment.augment.batch_size
        if batch > 1:
            self._units_per_task["augment"] = batch

    def lead(self) -> None:
        """Become the run's one feeder, or stay it. Raises UsageError while another is alive."""
        leader = feeding.lead(self.db, self.run.id, self.name, self.clock(), LEADER_LEASE)
        if leader != self.name and _is_dead(leader):
            leader = feeding.lead(self.db, self.run.id, self.name, self.clock(), LEADER_LEASE, dead=leader)
        if leader != self.name:
            raise UsageError(f"run {self.run.id} is being fed by {leader}; "
                             f"watch it with `starmill status {self.run.id} --watch`")  # fmt: skip

    def tick(self) -> bool:
        """Send what fits into the queues; True once every unit of the run is final."""
        feeding.open_rounds(self.db, self.run)
        feeding.open_barrier(self.db, self.run)
        try:
            for queue, length in zip(self._queues, self._redis.lengths(self._queues), strict=True):
                self._fill(queue, self._window - length)
        except (RedisError, OperationalError, OSError) as error:
            log.warning("Redis is away: %s; units are sent again when it is back", error)
        return feeding.finish_run(self.db, self.run.id, self.clock())

    def close(self) -> None:
        feeding.resign(self.db, self.run.id, self.name)
        self._redis.close()
        self._celery.close()

    def _fill(self, queue: str, room: int) -> None:
        now = self.clock()
        if room <= 0 or not feeding.has_sendable(self.db, self.run.id, queue, now, PATIENCE):
            return
        units = feeding.take_sendable(self.db, self.run.id, queue, room, now, PATIENCE)
        with self._celery.producer_pool.acquire(block=True) as producer:
            for stage, unit_ids in self._tasks(units):
                self._send(producer, queue, stage, unit_ids)

    def _tasks(self, units: Sequence[tuple[int, str]]) -> Iterator[tuple[str, list[int]]]:
        by_stage: dict[str, list[int]] = {}
        for unit_id, stage in units:
            by_stage.setdefault(stage, []).append(unit_id)
        for stage, unit_ids in by_stage.items():
            size = self._units_per_task[stage]
            for start in range(0, len(unit_ids), size):
                yield stage, unit_ids[start : start + size]

    def _send(self, producer: Any, queue: str, stage: str, unit_ids: list[int]) -> None:
        more = f" +{len(unit_ids) - 1}" if len(unit_ids) > 1 else ""
        self._celery.send_task(
            task_name(stage),
            args=(self.run.id, unit_ids),
            argsrepr=f"({self.run.id}, {unit_ids[0]}{more})",
            queue=queue,
            producer=producer,
            retry=False,
            ignore_result=True,
        )


def _is_dead(leader: str) -> bool:
    """A feeder of this machine whose process is gone; of other machines only the lease tells."""
    host, _, pid = leader.rpartition(":")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError):
        return False
    return False
