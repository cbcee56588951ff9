"""One process's part in feeding a run: it leads, or waits for its turn to.

The feeder as a service: every running run of the ledger is fed, each in a thread of its own.

A run of a million units that takes long over something keeps no other waiting. Services side by side share
the runs out between them; each run has one leader, and what a dead service led is taken over.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing

from redis.exceptions import RedisError
from sqlalchemy import exc

from producer.feeding.batch_delivery import deliver_batches
from producer.feeding.feeder import Feeder, Shares
from producer.feeding.interrupts import StopSignal
from storage.broker import Queues
from storage.database import Database
from storage.ledger import runs, scheduling
from storage.ledger.runs import Run
from storage.logs import set_about
from storage.schema import RUNNING
from storage.settings import Settings

log = logging.getLogger(__name__)
TICK_SECONDS = 0.2
SHORT_TICK_SECONDS = 0.05
WATCH_SECONDS = 0.5
LEAD_SECONDS = 2.0
# What the database says while it is away, or has no connection to spare.
DATABASE_AWAY = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)


class ElectedFeeder:
    """Of any number of processes that offer to feed a run, one leads. It sends units and looks after
    batches; the others take over within seconds of its end. `patience`: seconds until the first offer."""

    def __init__(
        self,
        db: Database,
        run: Run,
        settings: Settings,
        patience: float = 0.0,
        shares: Shares | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.db = db
        self.run = run
        self.leader = ""
        self._feeder = Feeder(db, run, settings, shares=shares)
        self._clock = clock
        self._offer_at = clock() + patience
        self._batches = ExitStack()

    @property
    def leads(self) -> bool:
        return self.leader == self._feeder.name

    @property
    def pause(self) -> float:
        """Seconds until the next tick is due."""
        if not self.leads:
            return WATCH_SECONDS
        # Not in step with others: no run is always the first to fill a queue.
        return random.uniform(0.5, 1.5) * (SHORT_TICK_SECONDS if self._feeder.is_short else TICK_SECONDS)

    def look(self) -> str:
        """Who leads now; nothing where nobody does."""
        return scheduling.leader(self.db, self.run.id, time.time())

    def offer(self) -> None:
        """Become the run's leader, or stay it, if nobody else is."""
        before, self.leader = self.leads, self._feeder.lead()
        self._offer_at = self._clock() + LEAD_SECONDS
        if self.leads and not before:
            log.info("run %s: feeding it", self.run.id)
            self._batches.enter_context(deliver_batches(self.db, self.run))
        elif before and not self.leads:
            log.warning("run %s: %s feeds it now", self.run.id, self.leader)
            self._batches.close()

    def tick(self) -> bool:
        """True once the run has ended, or was stopped from elsewhere."""
        if self._clock() >= self._offer_at:
            self.offer()
        ended = self.leads and self._feeder.tick()
        return ended or runs.run_state(self.db, self.run.id)[0] != RUNNING

    def close(self) -> None:
        """Another may take over at once, unless the database is away: then when the lease is over."""
        self._batches.close()
        try:
            self._feeder.close()
        except DATABASE_AWAY as error:
            log.warning("run %s: the database is away: %s", self.run.id, error)


LOOK_SECONDS = 1.0
# Silent for so long, a service no longer counts as being there.
ANNOUNCED_SECONDS = 8.0
STOP_SECONDS = 20.0
AWAY_SECONDS = 1.0


class FeedService:
    """`serve` feeds until it is stopped; a database or a Redis that is away is waited for."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self.db = db
        self.settings = settings
        self._shares = Shares(db)
        self._stopping = threading.Event()
        self._threads: dict[str, threading.Thread] = {}

    def serve(self, stop: StopSignal) -> None:
        """Raises KeyboardInterrupt once `stop` is asked for, and all runs can be fed by others."""
        with closing(Queues(self.settings.broker)) as broker, stop.deferred():
            try:
                while True:
                    stop.check()
                    self._look(broker)
                    time.sleep(LOOK_SECONDS)
            finally:
                self._stop()

    def _look(self, broker: Queues) -> None:
        try:
            broker.announce(ANNOUNCED_SECONDS)
        except RedisError as error:
            log.warning("Redis is away: %s", error)
        try:
            running = runs.running_runs(self.db)
        except DATABASE_AWAY as error:
            log.warning("the database is away: %s", getattr(error, "orig", error))
            return
        self._threads = {run: thread for run, thread in self._threads.items() if thread.is_alive()}
        for run in running:
            if run.id not in self._threads:
                # Whatever it does can be cut off: it must not keep a process alive that wants to end.
                thread = threading.Thread(target=self._feed, args=(run,), name=run.id, daemon=True)
                self._threads[run.id] = thread
                thread.start()

    def _feed(self, run: Run) -> None:
        set_about(run=run.id)
        try:
            with closing(ElectedFeeder(self.db, run, self.settings, shares=self._shares)) as feeding:
                while not self._stopping.is_set() and not self._tick(feeding):
                    self._stopping.wait(feeding.pause)
        except Exception as error:
            log.exception("run %s cannot be fed", run.id)
            said = f"it cannot be fed: {type(error).__name__}: {error}"
            runs.stop_run(self.db, run.id, said, paused=True)

    def _tick(self, feeding: ElectedFeeder) -> bool:
        try:
            return feeding.tick()
        except DATABASE_AWAY as error:
            log.warning("the database is away: %s", getattr(error, "orig", error))
            self._stopping.wait(AWAY_SECONDS)
            return False

    def _stop(self) -> None:
        self._stopping.set()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))
