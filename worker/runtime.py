"""The event loop of a worker process, what is open on it, and the runs that the worker knows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from models.adapters.gpus import read_gpus
from storage.answer_journal import journal_folder, take_in_answers
from storage.database import Database, ForeignSchema
from storage.ledger import engines, runs
from storage.logs import OncePerMinute
from storage.service_errors import cause, passing_trouble
from storage.settings import Settings
from worker.clients import Clients
from worker.ledger_access import LedgerAccess
from worker.run_context import RunContext

trouble_log = OncePerMinute(logging.getLogger(__name__))
REREAD_SECONDS = 5.0
REPORT_SECONDS = 2.0
# A run that is paused or over is noticed within this time, and its waiting calls leave.
MAX_DROP_SECONDS = 3.0
T = TypeVar("T")


class Runtime:
    """Celery's threads hand coroutines to this loop; hundreds of calls can be in flight on it.

    `stop_worker` is called when the worker can do no more; `clock` gives seconds since the epoch, by
    default those of the ledger.
    """

    def __init__(
        self,
        settings: Settings,
        stop_worker: Callable[[], None] = lambda: None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.owner = f"{socket.gethostname()[:24]}:{os.getpid()}:{secrets.token_hex(4)}"
        self.db = Database(settings.database)
        self.clock = clock or self.db.clock
        self.stopping = asyncio.Event()
        # Why this worker cannot work; empty while it can.
        self.unusable = ""
        self._stop_worker = stop_worker
        self.clients = Clients(settings, self.owner)
        self._journals = journal_folder(settings)
        # The queues that this worker serves, once it is known.
        self.queues: Callable[[], Sequence[str]] = tuple
        self.ledger = LedgerAccess(
            self.db,
            self.owner,
            settings.lease_seconds,
            self.clock,
            self.stopping,
            self.clients.forget_answers,
        )
        # Each known run and when it has to be read again.
        self._contexts: dict[str, tuple[RunContext, float]] = {}
        self._reading = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._thread.start()
        heartbeat = settings.lease_seconds / 4
        self._periodic = [
            self._start(self._repeat(heartbeat, self.ledger.extend_lease, "lease not extended")),
            self._start(
                self._repeat(settings.lease_seconds, self.ledger.release_lost, "lost units not given back")
            ),
            self._start(
                self._repeat(min(heartbeat, MAX_DROP_SECONDS), self.drop_ended_runs, "ended runs not dropped")
            ),
            self._start(self._repeat(heartbeat, self.require_own_schema, "release of the ledger not read")),
            self._start(self._repeat(heartbeat, self.take_in_answers, "answers of the dead not taken in")),
            self._start(self._repeat(REPORT_SECONDS, self._report_engines, "engines not reported")),
            self._start(self._repeat(REPORT_SECONDS, self._report_waits, "waits not reported")),
        ]

    def check(self) -> None:
        """Raise ServiceError unless the ledger can be used, and this machine's clock shows its time."""
        self.db.require_current()
        self.wait_for(self.ledger(Database.require_agreeing_clock))

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine on the loop and wait for it; called from Celery's threads."""
        return self._start(coroutine).result()

    async def take_in_answers(self) -> None:
        """Take in what workers of this machine were answered before they were killed."""
        await self.ledger(take_in_answers, self._journals, self.clock())

    async def require_own_schema(self) -> None:
        """Stop the worker once another release has upgraded the ledger, whose workers get its units."""
        try:
            await self.ledger.once(Database.require_current)
        except ForeignSchema as error:
            self.fatal(str(error))

    async def context(self, run_id: str) -> RunContext:
        """Return the run. Limits and budget may change while it runs, so it is read again every few seconds;
        a changed run gets a new context."""
        async with self._reading:
            context, reread_at = self._contexts.get(run_id, (None, 0.0))
            if context is None or self.clock() >= reread_at:
                run = await self.ledger(runs.load_run, run_id)
                if context is None or context.experiment != run.experiment:
                    context = RunContext(run, self.ledger, self.clients, self._stopping_of(context))
                self._contexts[run_id] = context, self.clock() + REREAD_SECONDS
            return context

    def _stopping_of(self, known: RunContext | None) -> asyncio.Event:
        """Return the event that is set when the run or the worker stops; a replaced context keeps it."""
        stopping = known.stopping if known else asyncio.Event()
        if self.stopping.is_set():
            stopping.set()
        return stopping

    def fatal(self, reason: str) -> None:
        """Stop the worker, because it cannot do its work; another worker may. The first reason counts."""
        if not self.unusable:
            self.unusable = reason
            self.begin_stop()
            self._stop_worker()

    def begin_stop(self) -> None:
        """Release units that wait for a limit or for a server; calls in flight are finished."""
        self._start(self._begin_stop())

    async def _begin_stop(self) -> None:
        self.stopping.set()
        for context, _ in self._contexts.values():
            context.stopping.set()
        await self.clients.cancel_waiting()

    def close(self) -> None:
        for task in self._periodic:
            task.cancel()
        with contextlib.suppress(Exception):  # a run that took moments has its engines reported, too
            self.wait_for(self._report_engines())
        with contextlib.suppress(Exception):  # at worst the lease expires
            self.wait_for(self.ledger.end_lease())
        self.wait_for(self.clients.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self.ledger.close()
        self.db.close()

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _repeat(self, seconds: float, step: Callable[[], Awaitable[None]], failure: str) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await step()
            except Exception as error:  # noqa: BLE001 (it is logged, and the next time may succeed)
                trouble_log.warning(
                    passing_trouble(error) or f"{type(error).__name__}: {cause(error)}", failure
                )

    async def drop_ended_runs(self) -> None:
        """Forget runs that are over, paused or interrupted, and release their units that wait for a limit.
        The caches of such a run live as long as its context, which the units in hand still hold."""
        known = list(self._contexts)
        if known:
            running = await self.ledger.once(runs.still_running, known)
            # Another call may have dropped some meanwhile.
            for run_id in (set(known) - running) & self._contexts.keys():
                context, _ = self._contexts.pop(run_id)
                context.stopping.set()
                self.clients.cancel_run(run_id)
        await self.clients.close_unused()

    async def _report_waits(self) -> None:
        await self.clients.report(self.queues())

    async def _report_engines(self) -> None:
        loads = self.clients.loads()
        if loads:
            gpus = await asyncio.to_thread(read_gpus)
            await self.ledger.once(engines.report_loads, self.owner, loads, gpus, self.clock())
