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

from models.stages import queues
from producer.feeding.sharing import Shares
from storage.broker import Queues, celery_settings, task_name
from storage.database import Database
from storage.ledger import feeding, shares
from storage.ledger.planning import Run
from storage.settings import Settings

log = logging.getLogger(__name__)
PATIENCE = 10.0
# A queue that is more than half full holds its messages: none is sent again.
NO_END = 1e9
LEADER_LEASE = 8.0


class Feeder:
    """Feeds one run. `tick` is called a few times a second, sooner when the run `is_short` of messages;
    `clock` gives seconds since the epoch. Feeders of one process may have `shares` together."""

    def __init__(
        self,
        db: Database,
        run: Run,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        shares: Shares | None = None,
    ) -> None:
        self.db = db
        self.run = run
        self.clock = clock
        self.is_short = False
        self._shares = shares or Shares(db, clock)
        self._sent: dict[str, dict[int, float]] = {}
        self.name = f"{socket.gethostname()}:{os.getpid()}:{_processes()}"
        self._window = settings.queue_window
        self._queues = queues(run.experiment)
        self._redis = Queues(settings.broker)
        self._celery = Celery("starmill", set_as_current=False)
        self._celery.conf.update(celery_settings(settings))
        self._units_per_task: dict[str, int] = run.experiment.units_per_task.model_dump()
        batch = run.experiment.augment.batch_size
        if batch > 1:
            self._units_per_task["augment"] = batch
        self._task_size = max(self._units_per_task.values())

    def lead(self) -> str:
        """Become the run's one feeder, or stay it; the name of who is."""
        leader = feeding.lead(self.db, self.run.id, self.name, self.clock(), LEADER_LEASE)
        if leader != self.name and _is_dead(leader):
            leader = feeding.lead(self.db, self.run.id, self.name, self.clock(), LEADER_LEASE, dead=leader)
        return leader

    def tick(self) -> bool:
        """Send what fits into the queues; True once every unit of the run is final."""
        feeding.open_rounds(self.db, self.run)
        feeding.open_barrier(self.db, self.run)
        self.is_short = False
        try:
            for queue, length in zip(self._queues, self._redis.lengths(self._queues), strict=True):
                self._fill(queue, length)
        except (RedisError, OperationalError, OSError) as error:
            log.warning("Redis is away: %s; units are sent again when it is back", error)
        return feeding.finish_run(self.db, self.run.id, self.clock())

    def close(self) -> None:
        feeding.resign(self.db, self.run.id, self.name)
        self._redis.close()
        self._celery.close()

    def _fill(self, queue: str, length: int) -> None:
        now = self.clock()
        patience = PATIENCE if length <= self._window // 2 else NO_END
        if not feeding.has_sendable(self.db, self.run.id, queue, now, patience):
            return
        waiting = self._waiting(queue, length, now)
        room = min(self._shares.room(queue, self.run.id, len(waiting)), self._window - length)
        # A task is not sent half empty while as many units wait.
        if room <= 0 or room < min(self._task_size, len(waiting)):
            return
        units = feeding.take_sendable(self.db, self.run.id, queue, room, now, patience)
        self._sent[queue] = waiting | {unit_id: now for unit_id, _, _ in units}
        self.is_short |= len(units) == room and not waiting
        with self._celery.producer_pool.acquire(block=True) as producer:
            first_of = {unit_id: example for unit_id, _, example in units}
            for stage, unit_ids in self._tasks(units):
                self._send(producer, queue, stage, unit_ids, first_of[unit_ids[0]])

    def _waiting(self, queue: str, length: int, now: float) -> dict[int, float]:
        """Units of the run whose messages are in the queue still, and when they were sent."""
        recent = {unit: at for unit, at in self._sent.get(queue, {}).items() if now - at < PATIENCE}
        if not (recent and length):
            return {}
        waiting = shares.still_waiting(self.db, list(recent), now)
        return {unit: at for unit, at in recent.items() if unit in waiting}

    def _tasks(self, units: Sequence[tuple[int, str, str]]) -> Iterator[tuple[str, list[int]]]:
        by_stage: dict[str, list[int]] = {}
        for unit_id, stage, _ in units:
            by_stage.setdefault(stage, []).append(unit_id)
        for stage, unit_ids in by_stage.items():
            size = self._units_per_task[stage]
            for start in range(0, len(unit_ids), size):
                yield stage, unit_ids[start : start + size]

    def _send(self, producer: Any, queue: str, stage: str, unit_ids: list[int], example: str) -> None:
        """Flower and Celery show the `repr`s: in short, as tables cut them, and the whole name of the run."""
        run = f"{self.run.experiment.name}-{self.run.id.rpartition('-')[2]}"
        more = f" +{len(unit_ids) - 1}" if len(unit_ids) > 1 else ""
        self._celery.send_task(
            task_name(stage),
            args=(self.run.id, unit_ids),
            argsrepr=f"{run} units {unit_ids[0]}{more}, example {example}",
            kwargsrepr=f"run {self.run.id}",
            queue=queue,
            producer=producer,
            retry=False,
            ignore_result=True,
        )


def _processes() -> int:
    """Which numbers of processes are meant: containers may share a host's name, and each has a process 1."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _is_dead(leader: str) -> bool:
    """A feeder of this machine whose process is gone; of other machines only the lease tells."""
    here, _, number = leader.partition(":")
    pid, _, processes = number.partition(":")
    if (here, processes) != (socket.gethostname(), str(_processes())):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError):
        return False
    return False
