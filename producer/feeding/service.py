"""The feeder as a service: every running run of the ledger is fed, each in a thread of its own.

A run of a million units that takes long over something keeps no other waiting. Services side by side share
the runs out between them; each run has one leader, and what a dead service led is taken over.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing

from redis.exceptions import RedisError

from producer.feeding.leading import AWAY, Feeding
from producer.feeding.sharing import Shares
from producer.feeding.stopping import Stop
from storage.broker import Queues
from storage.database import Database
from storage.ledger import planning
from storage.ledger.planning import Run
from storage.logs import set_about
from storage.settings import Settings

log = logging.getLogger(__name__)
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

    def serve(self, stop: Stop) -> None:
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
            running = planning.running_runs(self.db)
        except AWAY as error:
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
            with closing(Feeding(self.db, run, self.settings, shares=self._shares)) as feeding:
                while not self._stopping.is_set() and not self._tick(feeding):
                    self._stopping.wait(feeding.pause)
        except Exception as error:
            log.exception("run %s cannot be fed", run.id)
            said = f"it cannot be fed: {type(error).__name__}: {error}"
            planning.stop_run(self.db, run.id, said, paused=True)

    def _tick(self, feeding: Feeding) -> bool:
        try:
            return feeding.tick()
        except AWAY as error:
            log.warning("the database is away: %s", getattr(error, "orig", error))
            self._stopping.wait(AWAY_SECONDS)
            return False

    def _stop(self) -> None:
        self._stopping.set()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))
