"""The feeder sends units that are ready to the queues, and keeps the queues short.

It is feeder and reconciler in one. A message that Redis or a worker lost is a ready unit without a live
lease: it is sent again after PATIENCE seconds, whatever lost it.

Runs share the workers of a queue evenly. A queue and its workers may hold twice the units that workers hold
now, so that a worker finds the next unit at once and a new run waits no longer than that. Each run gets the
same part of them; others take what a run does not need. All is counted in the ledger, so that feeders that do
not know each other compute the same numbers.
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
from storage.logs import OncePerMinute
from storage.service_errors import cause, machine_trouble, redis_trouble
from storage.settings import Settings

# A queue may hold this many units even if workers hold fewer: a new worker finds work at once.
MIN_UNITS = 64
REFRESH_SECONDS = 0.25


@dataclass(slots=True)
class _Counts:
    at: float = float("-inf")
    in_flight: dict[tuple[str, str], int] = field(default_factory=dict)
    shares: dict[str, tuple[int, int]] = field(default_factory=dict)


class Shares:
    """The shares of all running runs, for all feeders of a process. `clock` gives seconds since the epoch."""

    def __init__(self, db: Database, clock: Callable[[], float] = time.time) -> None:
        self.db = db
        self.clock = clock
        self._lock = threading.Lock()
        self._counts = _Counts()

    def room(self, queue: str, run: str, waiting: int) -> int:
        """Return how many more units of the run may be sent, if `waiting` of them are in the queue."""
        with self._lock:
            now = self.clock()
            if now - self._counts.at >= REFRESH_SECONDS:
                self._counts = _Counts(now, scheduling.in_flight(self.db, now))
            counts = self._counts
            if queue not in counts.shares:
                counts.shares[queue] = self._share(queue)
            share, runs = counts.shares[queue]
        # A few may always wait: else a run with few workers would never get more.
        return max(share - counts.in_flight.get((queue, run), 0), MIN_UNITS // runs) - waiting

    def _share(self, queue: str) -> tuple[int, int]:
        """Return the share of each run, and the number of runs that want one."""
        held = sum(number for (name, _), number in self._counts.in_flight.items() if name == queue)
        total = max(MIN_UNITS, 2 * held)
        wanted = [number for number in scheduling.demand_by_run(self.db, queue, total).values() if number]
        return even_share(total, wanted), max(1, len(wanted))


def even_share(total: int, wanted: Iterable[int]) -> int:
    """Return the maximum for each of those that share `total`: max-min fairness."""
    left, demand = total, 0
    demands = sorted(wanted)
    for index, demand in enumerate(demands):
        if demand * (len(demands) - index) > left:
            return left // (len(demands) - index)
        left -= demand
    return demand + left


trouble_log = OncePerMinute(logging.getLogger(__name__))
RESEND_SECONDS = 10.0
# While a queue is more than half full, its messages are there: none is sent again.
NO_END = 1e9
LEADER_LEASE = 8.0


class Feeder:
    """Feeds one run. Call `tick` a few times a second, sooner while the run `is_short` of messages.

    `clock` gives seconds since the epoch. Feeders of one process may use the same `shares`.
    """

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
        self._starts: frozenset[int] | None = None

    def lead(self) -> str:
        """Become the run's one feeder, or stay it. Return the name of the leader."""
        leader = scheduling.claim_feeding(self.db, self.run.id, self.name, self.clock(), LEADER_LEASE)
        if leader != self.name and _is_dead(leader):
            leader = scheduling.claim_feeding(
                self.db, self.run.id, self.name, self.clock(), LEADER_LEASE, dead=leader
            )
        return leader

    def tick(self) -> bool:
        """Send the units that fit into the queues. Return whether every unit of the run is final."""
        scheduling.open_rounds(self.db, self.run)
        scheduling.open_barrier(self.db, self.run)
        self.is_short = False
        try:
            for queue, length in zip(self._queues, self._redis.lengths(self._queues), strict=True):
                self._fill(queue, length)
        except (RedisError, OperationalError, OSError) as error:
            trouble = redis_trouble(error) or machine_trouble(error) or f"Redis is away: {cause(error)}"
            trouble_log.warning(trouble, "units are sent when that is over")
        return scheduling.finish_run(self.db, self.run.id, self.clock())

    def close(self) -> None:
        scheduling.stop_feeding(self.db, self.run.id, self.name)
        self._redis.close()
        self._celery.close()

    def _fill(self, queue: str, length: int) -> None:
        now = self.clock()
        patience = RESEND_SECONDS if length <= self._window // 2 else NO_END
        if not scheduling.has_sendable(self.db, self.run.id, queue, now, patience):
            return
        waiting = self._waiting(queue, length, now)
        room = min(self._shares.room(queue, self.run.id, len(waiting)), self._window - length)
        # No task is sent half empty while enough units wait to fill it.
        if room <= 0 or room < min(self._task_size, len(waiting)):
            return
        if self._starts is None:
            self._starts = scheduling.augment_group_starts(self.db, self.run)
        units = scheduling.take_sendable(self.db, self.run.id, queue, room, now, patience, self._starts)
        self._sent[queue] = waiting | {unit_id: now for unit_id, _, _ in units}
        self.is_short |= len(units) >= room and not waiting
        with self._celery.producer_pool.acquire(block=True) as producer:
            first_of = {unit_id: example for unit_id, _, example in units}
            for stage, unit_ids in self._tasks(units):
                self._send(producer, queue, stage, unit_ids, first_of[unit_ids[0]])

    def _waiting(self, queue: str, length: int, now: float) -> dict[int, float]:
        """Return the units of the run whose messages are still in the queue, and when they were sent."""
        recent = {unit: at for unit, at in self._sent.get(queue, {}).items() if now - at < RESEND_SECONDS}
        if not (recent and length):
            return {}
        waiting = scheduling.unclaimed_units(self.db, list(recent), now)
        return {unit: at for unit, at in recent.items() if unit in waiting}

    def _tasks(self, units: Sequence[tuple[int, str, str]]) -> Iterator[tuple[str, list[int]]]:
        by_stage: dict[str, list[int]] = {}
        for unit_id, stage, _ in units:
            by_stage.setdefault(stage, []).append(unit_id)
        for stage, unit_ids in by_stage.items():
            starts = (self._starts or frozenset()) if stage == "augment" else frozenset()
            for task in _groups(unit_ids, self._units_per_task[stage], starts):
                yield stage, task

    def _send(self, producer: Any, queue: str, stage: str, unit_ids: list[int], example: str) -> None:
        """Send one task. Flower shows the `repr`s: a short one for tables, and the whole name of the run."""
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


def _groups(unit_ids: Sequence[int], size: int, starts: frozenset[int]) -> Iterator[list[int]]:
    """Yield groups of at most `size`; each of `starts` begins one."""
    group: list[int] = []
    for unit_id in unit_ids:
        if group and (len(group) == size or unit_id in starts):
            yield group
            group = []
        group.append(unit_id)
    if group:
        yield group


def _pid_namespace() -> int:
    """Return the namespace of process ids: containers may share a host's name, and each has a process 1."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _is_dead(leader: str) -> bool:
    """Return whether a feeder of this machine has ended. For other machines only the lease tells."""
    host, _, process = leader.partition(":")
    pid, _, namespace = process.partition(":")
    if (host, namespace) != (socket.gethostname(), str(_pid_namespace())):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError):
        return False
    return False
