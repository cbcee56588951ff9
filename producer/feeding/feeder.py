"""Runs share the workers of a queue evenly, however many units each has and whichever process feeds it.

In a queue and in workers' hands there may be twice as many units as workers hold now, so that they find
the next when they are done, and a run that comes waits no longer than that. Each run may have as many of
them as any other; what one does not need, the others have. All is counted in the ledger, so that feeders
that know nothing of each other come to the same numbers.

The feeder: sends what the ledger says is ready and nobody has, and keeps the queues short.

It is feeder and reconciler in one. A message that was lost, with Redis or with a worker, is a ready unit
without a live lease: it is sent again after `PATIENCE` seconds, no matter why it was lost.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from models.core.pipeline.stages import queues
from storage.broker import Queues, celery_settings, task_name
from storage.database import Database
from storage.ledger import scheduling
from storage.ledger.runs import Run
from storage.settings import Settings

# Units of a queue, also while workers hold fewer: a new one finds work at once.
MIN_UNITS = 64
REFRESH_SECONDS = 0.25


@dataclass(slots=True)
class _Counts:
    at: float = float("-inf")
    in_flight: dict[tuple[str, str], int] = field(default_factory=dict)
    shares: dict[str, tuple[int, int]] = field(default_factory=dict)


class Shares:
    """The shares of all running runs; one for any number of feeders in a process. `clock` gives seconds
    since the epoch."""

    def __init__(self, db: Database, clock: Callable[[], float] = time.time) -> None:
        self.db = db
        self.clock = clock
        self._lock = threading.Lock()
        self._counted = _Counts()

    def room(self, queue: str, run: str, waiting: int) -> int:
        """How many units more the run may have sent, if so many of its wait in the queue."""
        with self._lock:
            now = self.clock()
            if now - self._counted.at >= REFRESH_SECONDS:
                self._counted = _Counts(now, scheduling.in_flight(self.db, now))
            counted = self._counted
            if queue not in counted.shares:
                counted.shares[queue] = self._share(queue)
            share, runs = counted.shares[queue]
        # Some may wait whatever workers hold, or a run whose workers are few would never have more.
        return max(share - counted.in_flight.get((queue, run), 0), MIN_UNITS // runs) - waiting

    def _share(self, queue: str) -> tuple[int, int]:
        """Of each run; and how many runs there are that want one."""
        held = sum(number for (of, _), number in self._counted.in_flight.items() if of == queue)
        together = max(MIN_UNITS, 2 * held)
        wanted = [number for number in scheduling.demands(self.db, queue, together).values() if number]
        return even_share(together, wanted), max(1, len(wanted))


def even_share(together: int, wanted: Iterable[int]) -> int:
    """The most that each may have of `together`, where what some do not want is the others' (max-min
    fairness)."""
    left, most = together, 0
    demands = sorted(wanted)
    for number, most in enumerate(demands):
        if most * (len(demands) - number) > left:
            return left // (len(demands) - number)
        left -= most
    return most + left


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
        self.name = f"{socket.gethostname()}:{os.getpid()}:{_pid_namespace()}"
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
        leader = scheduling.lead(self.db, self.run.id, self.name, self.clock(), LEADER_LEASE)
        if leader != self.name and _is_dead(leader):
            leader = scheduling.lead(self.db, self.run.id, self.name, self.clock(), LEADER_LEASE, dead=leader)
        return leader

    def tick(self) -> bool:
        """Send what fits into the queues; True once every unit of the run is final."""
        scheduling.open_rounds(self.db, self.run)
        scheduling.open_barrier(self.db, self.run)
        self.is_short = False
        try:
            for queue, length in zip(self._queues, self._redis.lengths(self._queues), strict=True):
                self._fill(queue, length)
        except (RedisError, OperationalError, OSError) as error:
            log.warning("Redis is away: %s; units are sent again when it is back", error)
        return scheduling.finish_run(self.db, self.run.id, self.clock())

    def close(self) -> None:
        scheduling.resign(self.db, self.run.id, self.name)
        self._redis.close()
        self._celery.close()

    def _fill(self, queue: str, length: int) -> None:
        now = self.clock()
        patience = PATIENCE if length <= self._window // 2 else NO_END
        if not scheduling.has_sendable(self.db, self.run.id, queue, now, patience):
            return
        waiting = self._waiting(queue, length, now)
        room = min(self._shares.room(queue, self.run.id, len(waiting)), self._window - length)
        # A task is not sent half empty while as many units wait.
        if room <= 0 or room < min(self._task_size, len(waiting)):
            return
        units = scheduling.take_sendable(self.db, self.run.id, queue, room, now, patience)
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
        waiting = scheduling.still_waiting(self.db, list(recent), now)
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


def _pid_namespace() -> int:
    """Which numbers of processes are meant: containers may share a host's name, and each has a process 1."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _is_dead(leader: str) -> bool:
    """A feeder of this machine whose process is gone; of other machines only the lease tells."""
    here, _, number = leader.partition(":")
    pid, _, processes = number.partition(":")
    if (here, processes) != (socket.gethostname(), str(_pid_namespace())):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError):
        return False
    return False
