"""Feeds a run until it ends, and tells how it goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sqlalchemy.exc import InterfaceError, OperationalError

from producer.delivering import delivering
from producer.feed import Feeder
from producer.local.supervisor import Supervisor
from producer.status import Status, read_status
from producer.stopping import Stop
from storage.database import Database
from storage.ledger import planning
from storage.ledger.planning import Run
from storage.logs import about
from storage.schema import RUNNING
from storage.settings import Settings

log = logging.getLogger(__name__)
TICK_SECONDS = 0.2
SHOW_SECONDS = 1.0
LEAD_SECONDS = 5.0


def drive(
    db: Database,
    run: Run,
    settings: Settings,
    supervisor: Supervisor | None,
    show: Callable[[Status], None],
    stop: Stop,
) -> Status:
    """Until every unit is final, or the run is stopped from elsewhere, or paused because only a person
    can help. Raises KeyboardInterrupt when `stop` is asked for, UsageError where another feeder is alive,
    ServiceError where a local service is not."""
    feeder = Feeder(db, run, settings)
    try:
        feeder.lead()
        planning.start_run(db, run.id, time.time())
        with about(run=run.id), stop.deferred(), delivering(db, run):
            return _drive(db, planning.load_run(db, run.id), feeder, supervisor, show, stop)
    finally:
        feeder.close()


def _drive(
    db: Database,
    run: Run,
    feeder: Feeder,
    supervisor: Supervisor | None,
    show: Callable[[Status], None],
    stop: Stop,
) -> Status:
    led = shown = time.monotonic()
    while True:
        stop.check()
        try:
            now = time.monotonic()
            if now - led > LEAD_SECONDS:
                feeder.lead()
                led = now
            ended = feeder.tick() or planning.run_state(db, run.id)[0] != RUNNING
            if ended or now - shown > SHOW_SECONDS:
                if supervisor:
                    supervisor.check()
                status = read_status(db, run, time.time())
                show(status)
                if ended:
                    return status
                # Counting a million rows takes a while: spend at most a tenth of the time on it.
                shown = time.monotonic() + 10 * (time.monotonic() - now)
        except (OperationalError, InterfaceError) as error:
            log.warning("the database is away: %s", error.orig)
            time.sleep(1)
        time.sleep(TICK_SECONDS)
