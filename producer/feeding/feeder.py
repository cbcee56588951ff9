"""The feeder sends units that are ready to the queues, and keeps the queues short.

It is feeder and reconciler in one. A message that Redis or a worker lost is a ready unit without a live
lease: it is sent again after PATIENCE seconds, whatever lost it.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from celery import Celery
from kombu.exceptions import BatchPublishError, OperationalError
from redis.exceptions import RedisError

from models.core.pipeline.plan import queues, rows_per_call, stage_names, units_per_task
from producer.feeding.shares import Shares
from storage.broker import Queues, celery_settings, task_name
from storage.database import Database
from storage.ledger import counters, scheduling
from storage.ledger.run_progress import RunProgress, read_progress
from storage.ledger.runs import Run
from storage.ledger.scheduling import QueueRoom, SendableUnit
from storage.logs import OncePerMinute
from storage.schema import READY, RUNNING, TRAIN
from storage.service_errors import cause, machine_trouble, redis_trouble
from storage.settings import Settings

trouble_log = OncePerMinute(logging.getLogger(__name__))
RESEND_SECONDS = 10.0
# While a queue is more than half full, its messages are there: none is sent again.
NO_END = 1e9
LEADER_LEASE = 8.0
# A statement over all units of a run: of millions it takes longer than LEADER_LEASE.
LONG_LEASE = 300.0
# Counts that are the sum of more differences are replaced by it.
MAX_DIFFERENCES = 2000


class Feeder:
    """Feeds one run. Call `tick` a few times a second, sooner while the run `is_short` of messages, or if it
    `is_drained`: workers have all that is ready, so that its end, or that of a stage, may be near.

    `clock` gives seconds since the epoch, by default those of the ledger. Feeders of one process may use
    the same `shares`.
    """

    def __init__(
        self,
        db: Database,
        run: Run,
        settings: Settings,
        clock: Callable[[], float] | None = None,
        shares: Shares | None = None,
    ) -> None:
        self.db = db
        self.run = run
        self.clock = clock or db.clock
        self.is_short = False
        self.is_drained = False
        # The state of the run at the last tick.
        self.run_state = RUNNING
        self._shares = shares or Shares(db, self.clock)
        self._sent: dict[str, dict[int, float]] = {}
        self.name = f"{socket.gethostname()}:{os.getpid()}:{_pid_namespace()}"
        self._window = settings.queue_window
        scheduling.rename_queues(db, run)
        self._queues = queues(run.experiment)
        self._queue_of = {
            (split, slot.stage, slot.variant): slot.queue
            for split, slots in run.slots.items()
            for slot in slots
        }
        self._redis = Queues(settings.broker)
        self._celery = Celery("starmill", set_as_current=False, fixups=[])
        self._celery.conf.update(celery_settings(settings))
        stages = stage_names(run.experiment)
        self._units_per_task = {stage: units_per_task(run.experiment, stage) for stage in stages}
        self._task_size = max(self._units_per_task.values())
        # Steps whose calls serve several rows, and the units that begin such a call.
        self._grouped = rows_per_call(run.experiment)
        self._starts: frozenset[int] | None = None

    def lead(self) -> str:
        """Become the run's one feeder, or stay it. Return the name of the leader."""
        leader = self._claim(LEADER_LEASE)
        if leader != self.name and _is_dead(leader):
            leader = scheduling.claim_feeding(
                self.db, self.run.id, self.name, self.clock(), LEADER_LEASE, dead=leader
            )
        return leader

    def _claim(self, lease: float) -> str:
        return scheduling.claim_feeding(self.db, self.run.id, self.name, self.clock(), lease)

    def tick(self) -> bool:
        """Send the units that fit into the queues. Return whether every unit of the run is final."""
        progress = read_progress(self.db, self.run.id)
        self.run_state = progress.state
        if not (progress.barrier_open or progress.has_open(TRAIN)):
            self._claim(LONG_LEASE)
        freed = scheduling.open_rounds(self.db, self.run, progress)
        if scheduling.open_barrier(self.db, self.run, progress) or freed:
            progress = read_progress(self.db, self.run.id)
        if progress.differences > MAX_DIFFERENCES:
            counters.fold(self.db, self.run.id, progress.differences)
        self.is_short = False
        try:
            lengths = dict(zip(self._queues, self._redis.lengths(self._queues), strict=True))
            self.is_drained = not self._fill(progress, lengths) and not any(lengths.values())
        except (RedisError, BatchPublishError, OperationalError, OSError) as error:
            trouble = redis_trouble(error) or machine_trouble(error) or f"Redis is away: {cause(error)}"
            trouble_log.warning(trouble, "units are sent when that is over")
        return not progress.has_open() and scheduling.finish_run(self.db, self.run.id, self.clock())

    def close(self) -> None:
        scheduling.stop_feeding(self.db, self.run.id, self.name)
        self._redis.close()
        self._celery.close()

    def _fill(self, progress: RunProgress, lengths: Mapping[str, int]) -> bool:
        """Send what fits into the queues. Return whether anything was sent."""
        now = self.clock()
        waiting = self._waiting(self._ready_queues(progress), lengths, now)
        rooms = self._rooms(waiting, lengths)
        if rooms and self._starts is None:
            self._claim(LONG_LEASE)
            self._starts = scheduling.group_start_units(self.db, self.run)
        taken = scheduling.take_sendable(
            self.db, self.run.id, rooms, now, self._starts or frozenset(), self._grouped
        )
        for queue, units in taken.items():
            self._sent[queue] = waiting[queue] | {unit.unit_id: now for unit in units}
            self.is_short |= len(units) >= rooms[queue].units and not waiting[queue]
            with self._celery.producer_pool.acquire(block=True) as producer, producer.batch():
                for task in self._tasks(units):
                    self._send(producer, queue, task)
        return any(taken.values())

    def _ready_queues(self, progress: RunProgress) -> list[str]:
        ready = {self._queue_of.get(cell) for cell, states in progress.units.items() if states[READY]}
        return [queue for queue in self._queues if queue in ready]

    def _rooms(
        self, waiting: Mapping[str, Mapping[int, float]], lengths: Mapping[str, int]
    ) -> dict[str, QueueRoom]:
        """Return the room of each queue that takes units now."""
        shares = self._shares.rooms(self.run.id, {queue: len(units) for queue, units in waiting.items()})
        rooms = {}
        for queue, units in waiting.items():
            room = min(shares[queue], self._window - lengths[queue])
            # No task is sent half empty while enough units wait to fill it.
            if room > 0 and room >= min(self._task_size, len(units)):
                patience = RESEND_SECONDS if lengths[queue] <= self._window // 2 else NO_END
                rooms[queue] = QueueRoom(room, patience)
        return rooms

    def _waiting(
        self, queues: Sequence[str], lengths: Mapping[str, int], now: float
    ) -> dict[str, dict[int, float]]:
        """Return the units of the run whose messages are still in these queues, and when they were sent."""
        recent = {
            queue: {
                unit: at for unit, at in self._sent.get(queue, {}).items()
                if lengths[queue] and now - at < RESEND_SECONDS
            }
            for queue in queues
        }  # fmt: skip
        sent = [unit for units in recent.values() for unit in units]
        unclaimed = scheduling.unclaimed_units(self.db, sent, now) if sent else set()
        return {
            queue: {unit: at for unit, at in units.items() if unit in unclaimed}
            for queue, units in recent.items()
        }

    def _tasks(self, units: Sequence[SendableUnit]) -> Iterator[list[SendableUnit]]:
        by_stage: dict[str, list[SendableUnit]] = {}
        for unit in units:
            by_stage.setdefault(unit.stage, []).append(unit)
        for stage, of_stage in by_stage.items():
            starts = (self._starts or frozenset()) if stage in self._grouped else frozenset()
            yield from _groups(of_stage, self._units_per_task[stage], starts)

    def _send(self, producer: Any, queue: str, units: Sequence[SendableUnit]) -> None:
        """Send one task. Flower shows the `repr`s: a short one for tables, and the whole name of the run."""
        run = f"{self.run.experiment.name}-{self.run.id.rpartition('-')[2]}"
        unit_ids = [unit.unit_id for unit in units]
        rows = list(dict.fromkeys(unit.row for unit in units))
        of_rows = f"rows {rows[0]} to {rows[-1]} ({len(rows)})" if len(rows) > 1 else f"row {rows[0]}"
        more = f" +{len(unit_ids) - 1}" if len(unit_ids) > 1 else ""
        self._celery.send_task(
            task_name(units[0].kind),
            args=(self.run.id, unit_ids),
            argsrepr=f"{run} {units[0].stage}, {of_rows}, units {unit_ids[0]}{more}",
            kwargsrepr=f"run {self.run.id}",
            queue=queue,
            producer=producer,
            retry=False,
            ignore_result=True,
        )


def _groups(units: Sequence[SendableUnit], size: int, starts: frozenset[int]) -> Iterator[list[SendableUnit]]:
    """Yield groups of at most `size`; each of `starts` begins one."""
    group: list[SendableUnit] = []
    for unit in units:
        if group and (len(group) == size or unit.unit_id in starts):
            yield group
            group = []
        group.append(unit)
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
