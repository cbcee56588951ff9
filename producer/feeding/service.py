"""The feeder as a service: every running run of the ledger is fed, each in a thread of its own.

A slow run delays no other. Services side by side share the runs; each run has one leader, and another takes
over the runs of a dead service.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from models.core.errors import ServiceError
from producer.feeding.feeder import Feeder
from producer.feeding.interrupts import StopSignal
from producer.feeding.shares import Shares
from producer.feeding.webhook import RunNotifier
from storage.answer_journal import journal_folder, take_in_answers
from storage.broker import Queues
from storage.database import Database, ForeignSchema
from storage.ledger import runs, scheduling
from storage.ledger.runs import Run
from storage.ledger_clock import REREAD_SECONDS
from storage.logs import OncePerMinute, set_about
from storage.schema import FINISHED, RUNNING
from storage.service_errors import cause, database_refusal, database_trouble, redis_trouble
from storage.settings import Settings

log = logging.getLogger(__name__)
trouble_log = OncePerMinute(log)
TICK_SECONDS = 0.2
SHORT_TICK_SECONDS = 0.05
DRAINED_TICK_SECONDS = 0.1
WATCH_SECONDS = 0.5
LEAD_SECONDS = 2.0


def log_if_passing(error: SQLAlchemyError) -> None:
    """Log the error of a database that is away, full or read-only, once a minute. Raise any other error."""
    trouble = database_trouble(error)
    if not trouble:
        raise error
    trouble_log.warning(trouble, "the run waits for it")


class ElectedFeeder:
    """The feeder of a run, elected among all processes that offer to feed it.

    The leader sends units and handles batches; another takes over within seconds of its end. `patience` is
    the seconds until the first offer.
    """

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
        self._journals = journal_folder(settings)
        self._feeder = Feeder(db, run, settings, shares=shares)
        self._clock = clock
        self._next_election = clock() + patience
        self._batches = ExitStack()
        self._notifier = RunNotifier(db, run, settings)
        self._tracker = settings.tracker

    @property
    def leads(self) -> bool:
        return self.leader == self._feeder.name

    @property
    def pause(self) -> float:
        """Return the seconds until the next tick is due."""
        if not self.leads:
            return WATCH_SECONDS
        pause = DRAINED_TICK_SECONDS if self._feeder.is_drained else TICK_SECONDS
        # Random, so that no run is always the first to fill a queue.
        return random.uniform(0.5, 1.5) * (SHORT_TICK_SECONDS if self._feeder.is_short else pause)

    def current_leader(self) -> str:
        """Return the name of the leader, or an empty text if there is none."""
        return scheduling.current_feeder(self.db, self.run.id, self.db.clock())

    def try_to_lead(self) -> None:
        """Become the run's leader, or stay it, if no other process is. Before, take in what workers of this
        machine were answered before they were killed: else it would be asked again."""
        self.db.clock.synchronize(older_than=REREAD_SECONDS)
        take_in_answers(self.db, self._journals, self.db.clock())
        before, self.leader = self.leads, self._feeder.lead()
        self._next_election = self._clock() + LEAD_SECONDS
        if self.leads and not before:
            log.info("run %s: feeding it", self.run.id)
            if _delivers_batches(self.run):
                from producer.feeding.batch_delivery import deliver_batches  # with a client of the provider

                self._batches.enter_context(deliver_batches(self.db, self.run))
        elif before and not self.leads:
            log.warning("run %s: %s feeds it now", self.run.id, self.leader)
            self._batches.close()

    def tick(self) -> bool:
        """Feed the run if this process leads. Return whether the run has ended or was stopped."""
        # Nobody takes the lead of a run that is over: its end would be told twice.
        over = not self.leads and runs.run_state(self.db, self.run.id)[0] != RUNNING
        if not over:
            if self._clock() >= self._next_election:
                self.try_to_lead()
            over = self.leads and (self._feeder.tick() or self._feeder.run_state != RUNNING)
        if self.leads:
            self._notifier.tick(over=over)
            if over:
                self._track()
        return over

    def _track(self) -> None:
        if self._tracker and runs.run_state(self.db, self.run.id)[0] == FINISHED:
            from producer.results.tracking import track_run  # with the arithmetic of reports

            track_run(self.db, runs.load_run(self.db, self.run.id), self._tracker)

    def close(self) -> None:
        """Give up the lead. If the database is away, another takes over only when the lease is over."""
        self._batches.close()
        try:
            self._feeder.close()
        except SQLAlchemyError as error:
            log.warning("run %s: %s", self.run.id, database_trouble(error) or cause(error))


def _delivers_batches(run: Run) -> bool:
    teacher = run.experiment.teacher
    return bool(teacher and teacher.delivery == "batch")


LOOK_SECONDS = 1.0
# A service that is silent for so long counts as ended.
ANNOUNCED_SECONDS = 8.0
STOP_SECONDS = 20.0
AWAY_SECONDS = 1.0


class FeedService:
    """Feeds every running run. It waits while the database or Redis is away, and ends when another release
    has upgraded the ledger."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self.db = db
        self.settings = settings
        self._shares = Shares(db)
        self._stopping = threading.Event()
        self._threads: dict[str, threading.Thread] = {}

    def serve(self, stop: StopSignal) -> None:
        """Feed until stopped. Raise KeyboardInterrupt once `stop` is requested and all runs are released, and
        ForeignSchema once another release has upgraded the ledger."""
        with closing(Queues(self.settings.broker)) as broker, stop.deferred():
            try:
                while True:
                    stop.check()
                    self._require_own_schema()
                    self._start_feeders(broker)
                    time.sleep(LOOK_SECONDS)
            finally:
                self._stop()

    def _require_own_schema(self) -> None:
        try:
            self.db.require_current()
        except ForeignSchema:
            raise
        except (ServiceError, SQLAlchemyError) as error:
            trouble_log.warning(cause(error), "the runs wait for it")

    def _start_feeders(self, broker: Queues) -> None:
        try:
            broker.announce(ANNOUNCED_SECONDS)
        except RedisError as error:
            trouble_log.warning(redis_trouble(error))
        try:
            running = runs.running_runs(self.db)
        except SQLAlchemyError as error:
            log_if_passing(error)
            return
        self._threads = {run: thread for run, thread in self._threads.items() if thread.is_alive()}
        for run in running:
            if run.id not in self._threads:
                # A daemon: all it does can be cut off, so it must not keep the process alive.
                thread = threading.Thread(target=self._feed, args=(run,), name=run.id, daemon=True)
                self._threads[run.id] = thread
                thread.start()

    def _feed(self, run: Run) -> None:
        set_about(run=run.id)
        try:
            with closing(ElectedFeeder(self.db, run, self.settings, shares=self._shares)) as feeder:
                while not self._stopping.is_set() and not self._tick(feeder):
                    self._stopping.wait(feeder.pause)
        except Exception as error:
            refusal = database_refusal(error)
            message = f"it cannot be fed: {refusal or f'{type(error).__name__}: {error}'}"
            log.log(logging.ERROR, "run %s: %s", run.id, message, exc_info=None if refusal else error)
            runs.stop_run(self.db, run.id, message, paused=True)

    def _tick(self, feeder: ElectedFeeder) -> bool:
        try:
            return feeder.tick()
        except SQLAlchemyError as error:
            log_if_passing(error)
            self._stopping.wait(AWAY_SECONDS)
            return False

    def _stop(self) -> None:
        self._stopping.set()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))
