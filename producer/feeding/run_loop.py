"""Feeds a run until it ends, or watches who feeds it, and tells how it goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing

from redis.exceptions import RedisError

from models.core.errors import UsageError
from producer.feeding.interrupts import StopSignal
from producer.feeding.service import DATABASE_AWAY, ElectedFeeder
from producer.local.supervisor import Supervisor
from producer.progress.status import LimitWatch, Status, read_status
from storage.broker import Queues
from storage.database import Database
from storage.ledger import runs
from storage.ledger.runs import Run
from storage.logs import about
from storage.settings import Settings

log = logging.getLogger(__name__)
SHOW_SECONDS = 1.0
# How long a service that is there may take to notice a run.
SERVICE_SECONDS = 5.0


class StoppedWatching(KeyboardInterrupt):
    """The run goes on: `leader` feeds it."""

    def __init__(self, leader: str) -> None:
        super().__init__(leader)
        self.leader = leader


def feed_or_watch(
    db: Database,
    run: Run,
    settings: Settings,
    supervisor: Supervisor | None,
    show: Callable[[Status], None],
    stop: StopSignal,
) -> Status:
    """Until every unit is final, or the run is stopped from elsewhere, or paused because only a person
    can help. A run that another process feeds is watched, and fed once that one has ended.

    Raises KeyboardInterrupt when `stop` is asked for, StoppedWatching where another feeds the run; with
    local services, which only this process can feed, UsageError where another does, ServiceError where
    one of them is broken.
    """
    with closing(ElectedFeeder(db, run, settings, patience=SERVICE_SECONDS)) as feeding:
        if supervisor or not _is_served(settings):
            feeding.offer()
        if supervisor and not feeding.leads:
            raise UsageError(f"run {run.id} is being fed by {feeding.leader}; "
                             f"watch it with `starmill status {run.id} --watch`")  # fmt: skip
        runs.start_run(db, run.id, time.time())
        with about(run=run.id), stop.deferred():
            return _loop(db, runs.load_run(db, run.id), settings, feeding, supervisor, show, stop)


def _is_served(settings: Settings) -> bool:
    with closing(Queues(settings.broker)) as broker:
        try:
            return broker.is_served()
        except RedisError:
            return False


def _loop(
    db: Database,
    run: Run,
    settings: Settings,
    feeding: ElectedFeeder,
    supervisor: Supervisor | None,
    show: Callable[[Status], None],
    stop: StopSignal,
) -> Status:
    shown = time.monotonic()
    limits = LimitWatch(settings)
    while True:
        if stop.requested and not feeding.leads and (leader := feeding.look()):
            raise StoppedWatching(leader)
        stop.check()
        try:
            now = time.monotonic()
            ended = feeding.tick()
            if ended or now - shown > SHOW_SECONDS:
                if supervisor:
                    supervisor.check()
                status = read_status(db, run, time.time(), limits)
                show(status)
                if ended:
                    return status
                # Counting a million rows takes a while: spend at most a tenth of the time on it.
                shown = time.monotonic() + 10 * (time.monotonic() - now)
        except DATABASE_AWAY as error:
            log.warning("the database is away: %s", getattr(error, "orig", error))
            time.sleep(1)
        time.sleep(feeding.pause)
