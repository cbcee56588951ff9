"""One event loop per worker process, what is open on it, and the heartbeat that keeps its leases."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from models.core.types import Rejection
from storage.database import WORKER_CONNECTIONS, Database
from storage.ledger import claims, engines, outcomes, purchases, runs
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from storage.ledger.purchases import CallClaim, Found, Purchase
from storage.settings import Settings
from worker.clients import Clients
from worker.micro_batch import MicroBatch
from worker.run_context import RunContext

log = logging.getLogger(__name__)
LAST_PATIENCE_SECONDS = 60.0
REREAD_SECONDS = 5.0
REPORT_SECONDS = 2.0
P = ParamSpec("P")
T = TypeVar("T")


class Runtime:
    """Celery's threads hand coroutines to this loop; hundreds of calls can be in flight on it.

    `end_worker` is called where the worker can do no more; `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        settings: Settings,
        end_worker: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.lease = settings.lease_seconds
        self.owner = f"{socket.gethostname()[:24]}:{os.getpid()}:{secrets.token_hex(4)}"
        self.db = Database(settings.database)
        self.resources = Clients(settings, self.owner)
        # SQLite has one writer; more threads would only queue for its lock.
        self._ledger_threads = ThreadPoolExecutor(1 if self.db.is_sqlite else WORKER_CONNECTIONS, "ledger")
        self._contexts: dict[str, RunContext] = {}
        self._reading = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._thread.start()
        self.stopping = asyncio.Event()
        self.unfit = ""
        self._end_worker = end_worker
        self.claim = MicroBatch(self._claim)
        self.reserve = MicroBatch(self._reserve)
        self.finish = MicroBatch(self._finish)
        self._heartbeat = asyncio.run_coroutine_threadsafe(self._keep_leases(), self._loop)
        self._reporting = asyncio.run_coroutine_threadsafe(self._report_engines(), self._loop)

    def check(self) -> None:
        """Raise ServiceError unless the ledger can be used."""
        self.db.require_current()

    def wait_for(self, unit: Coroutine[Any, Any, T]) -> T:
        """Run on the loop; called from Celery's threads."""
        return asyncio.run_coroutine_threadsafe(unit, self._loop).result()

    async def ledger(
        self, function: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """One transaction of the ledger, off the loop; waits while the database is away, since what is
        to be stored was paid for. A worker that is to stop does not wait for ever."""
        patient = AsyncRetrying(
            retry=retry_if_exception_type((OperationalError, InterfaceError)),
            wait=wait_random_exponential(0.2, max=5),
            stop=lambda state: self.stopping.is_set() and stop_after_delay(LAST_PATIENCE_SECONDS)(state),
            before_sleep=lambda state: log.warning("ledger: %s; trying again", _cause(state.outcome)),
            reraise=True,
        )
        return await patient(self._in_ledger_thread, function, *args, **kwargs)

    async def _claim(self, messages: Sequence[Sequence[int]]) -> list[list[ClaimedUnit]]:
        """The units of each message that are now ours."""
        unit_ids = [unit_id for message in messages for unit_id in message]
        units = await self.ledger(claims.claim, self.owner, unit_ids, self.clock(), self.lease)
        # A unit that two messages name is lived once.
        ours = {unit.unit_id: unit for unit in units}
        return [[ours.pop(unit_id) for unit_id in message if unit_id in ours] for message in messages]

    async def _reserve(self, calls: Sequence[CallClaim]) -> list[Found]:
        return await self.ledger(purchases.reserve, self.owner, calls, self.clock(), self.lease)

    async def _finish(self, ended: Sequence[Sequence[UnitOutcome]]) -> list[None]:
        together = [outcome for outcomes_of_one in ended for outcome in outcomes_of_one]
        await self.ledger(outcomes.finish, together, self.clock())
        self.resources.committed(outcome.purchase for outcome in together)
        return [None] * len(ended)

    async def reject(
        self, unit: ClaimedUnit, rejection: Rejection, key: str, purchase: Purchase | None
    ) -> None:
        """Keep an answer that is not accepted; the unit goes on."""
        await self.ledger(outcomes.reject, unit, rejection, unit.rejections, key, purchase, self.clock())
        self.resources.committed([purchase])

    async def keep(self, unit: ClaimedUnit, purchase: Purchase) -> None:
        """Store an answer that was paid for, whatever becomes of its unit."""
        await self.ledger(outcomes.keep, unit, purchase, self.clock())
        self.resources.committed([purchase])

    async def context(self, run_id: str) -> RunContext:
        """The run; what steers it (limits, budget) may be changed while it runs."""
        async with self._reading:
            known = self._contexts.get(run_id)
            if known and self.clock() < known.reread_at:
                return known
            run = await self.ledger(runs.load_run, run_id)
            if known is None or known.experiment != run.experiment:
                known = self._contexts[run_id] = RunContext(self, run)
            known.reread_at = self.clock() + REREAD_SECONDS
            return known

    async def pause(self, seconds: float) -> None:
        """Sleep, but no longer than the worker wants to live."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    def give_up(self, reason: str) -> None:
        """The worker is to stop, since it cannot do its work here; another may. The first reason counts."""
        if not self.unfit:
            self.unfit = reason
            self.stop_waiting()
            self._end_worker()

    def stop_waiting(self) -> None:
        """Units that wait for a limit or for a server go back; calls in flight are finished."""
        asyncio.run_coroutine_threadsafe(self._stop_waiting(), self._loop)

    async def _stop_waiting(self) -> None:
        self.stopping.set()
        await self.resources.turn_away()

    def close(self) -> None:
        self._heartbeat.cancel()
        self._reporting.cancel()
        self.wait_for(self.resources.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._ledger_threads.shutdown()
        self.db.close()

    async def _in_ledger_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(
            self._ledger_threads, lambda: function(self.db, *args, **kwargs)
        )

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self.lease / 4)
            try:
                await self._in_ledger_thread(claims.extend, self.owner, self.clock(), self.lease)
            except (OperationalError, InterfaceError) as error:
                log.warning("ledger: %s; leases not extended", error.orig)

    async def _report_engines(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            loads = self.resources.loads()
            if not loads:
                continue
            try:
                await self._in_ledger_thread(engines.report, self.owner, loads, self.clock())
            except (OperationalError, InterfaceError) as error:
                log.warning("ledger: %s; engines not reported", error.orig)


def _cause(outcome: Any) -> object:
    error = outcome.exception() if outcome else None
    return getattr(error, "orig", error)
