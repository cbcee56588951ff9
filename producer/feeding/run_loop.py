"""Feed one run until it ends, or watch the process that feeds it, and show the progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from models.core.errors import UsageError
from producer.feeding.interrupts import StopSignal
from producer.feeding.service import ElectedFeeder, log_if_passing
from producer.local.supervisor import Supervisor
from producer.progress.status import LimitWatch, Status, read_status
from storage.broker import Queues
from storage.database import Database
from storage.ledger import runs
from storage.ledger.runs import Run
from storage.logs import about
from storage.settings import Settings

SHOW_SECONDS = 1.0
# A feed service notices a new run within this time.
SERVICE_SECONDS = 5.0


class StoppedWatching(KeyboardInterrupt):
    """Stopped watching a run that goes on: `leader` feeds it."""

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
    """Feed the run until every unit is final, or until it is stopped from elsewhere or paused.

    A run that another process feeds is watched, and fed once that process has ended. Raise KeyboardInterrupt
    if `stop` is requested, StoppedWatching if another process feeds the run then. With local services, which
    only this process can feed, raise UsageError if another process leads, ServiceError if a service is
    broken.
    """
    with closing(ElectedFeeder(db, run, settings, patience=SERVICE_SECONDS)) as feeder:
        if supervisor or not _is_served(settings):
            feeder.try_to_lead()
        if supervisor and not feeder.leads:
            raise UsageError(f"run {run.id} is being fed by {feeder.leader}; "
                             f"watch it with `starmill status {run.id} --watch`")  # fmt: skip
        runs.start_run(db, run.id, db.clock())
        with about(run=run.id), stop.deferred():
            return _loop(db, runs.load_run(db, run.id), settings, feeder, supervisor, show, stop)


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
    feeder: ElectedFeeder,
    supervisor: Supervisor | None,
    show: Callable[[Status], None],
    stop: StopSignal,
) -> Status:
    shown = time.monotonic()
    limits = LimitWatch(settings)
    while True:
        if stop.requested and not feeder.leads and (leader := feeder.current_leader()):
            raise StoppedWatching(leader)
        stop.check()
        try:
            now = time.monotonic()
            ended = feeder.tick()
            if ended or now - shown > SHOW_SECONDS:
                if supervisor:
                    supervisor.check()
                status = read_status(db, run, db.clock(), limits)
                show(status)
                if ended:
                    return status
                shown = now
        except SQLAlchemyError as error:
            log_if_passing(error)
            time.sleep(1)
        time.sleep(feeder.pause)
