"""The ledger as the coroutines of a worker process use it: in threads, in batches, with patience."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_delay,
    wait_random_exponential,
)

from models.core.types import Rejection
from storage.database import WORKER_CONNECTIONS, Database
from storage.ledger import claims, leases, outcomes, purchases
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome, without_answer
from storage.ledger.purchases import CallClaim, Purchase, ReserveResult
from storage.logs import OncePerMinute
from storage.service_errors import database_trouble
from worker.micro_batch import MicroBatch

trouble_log = OncePerMinute(logging.getLogger(__name__))
MAX_PATIENCE_WHILE_STOPPING = 60.0
# Enough units are claimed to make calls meanwhile, so that this wait costs no speed. After a call it is
# shorter: an answer that is not stored yet is lost with the worker.
BEFORE_CALL_SECONDS = 0.05
P = ParamSpec("P")
T = TypeVar("T")


class LedgerAccess:
    """`owner` is the name of this process in the ledger, `lease` the length of its lease in seconds. `clock`
    gives seconds since the epoch. `stopping` is set when the worker stops. `on_committed` gets the purchases
    of each commit.

    `claim`, `reserve` and `finish` take the items of one caller and share transactions with other callers.
    """

    def __init__(
        self,
        db: Database,
        owner: str,
        lease: float,
        clock: Callable[[], float],
        stopping: asyncio.Event,
        on_committed: Callable[[Iterable[Purchase | None]], None] = lambda _: None,
    ) -> None:
        self.db = db
        self.owner = owner
        self.lease = lease
        self.clock = clock
        # What holds each unit: one may be released and come back before all units of its message have ended.
        self._in_hand: dict[int, object] = {}
        self._live_until = float("-inf")
        # When the database was away last, by `clock`: nobody could extend a lease then.
        self._away_at = float("-inf")
        self._stopping = stopping
        self._on_committed = on_committed
        # SQLite has one writer; more threads would only queue for its lock.
        self._threads = ThreadPoolExecutor(1 if db.is_sqlite else WORKER_CONNECTIONS, "ledger")
        self.claim = MicroBatch(self._claim, BEFORE_CALL_SECONDS)
        self.reserve = MicroBatch(self._reserve, BEFORE_CALL_SECONDS)
        self.finish = MicroBatch(self._finish)

    async def __call__(
        self, function: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run one transaction, off the loop. Wait while the database is away, full or read-only, because the
        answers to be stored were paid for; a worker that stops waits for a minute only.

        An error that will not pass is raised.
        """
        patient = AsyncRetrying(
            retry=retry_if_exception(lambda error: bool(database_trouble(error))),
            wait=wait_random_exponential(0.2, max=5),
            stop=lambda state: (
                self._stopping.is_set() and stop_after_delay(MAX_PATIENCE_WHILE_STOPPING)(state)
            ),
            before_sleep=_log_trouble,
            reraise=True,
        )
        return await patient(self.once, function, *args, **kwargs)

    async def once(
        self, function: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run one transaction, off the loop. Raise while the database is away."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, lambda: function(self.db, *args, **kwargs))
        except Exception as error:
            if database_trouble(error):
                self._away_at = self.clock()
            raise

    @contextmanager
    def in_hand(self, unit_ids: Sequence[int]) -> Iterator[list[int]]:
        """Yield those of the units that nothing else in this process has in hand.

        They must be claimed within the block only. So no two coroutines hold a unit under the same owner, and
        a claimed unit that is not in hand is lost.
        """
        holder = object()
        taken = [unit_id for unit_id in unit_ids if self._in_hand.setdefault(unit_id, holder) is holder]
        try:
            yield taken
        finally:
            for unit_id in taken:
                if self._in_hand.get(unit_id) is holder:
                    del self._in_hand[unit_id]

    async def extend_lease(self) -> None:
        await self._extend_lease(self.once)

    async def release_lost(self) -> None:
        """Give back the units of this owner that are not in hand: nobody would end them."""
        with self.in_hand(await self.once(claims.owned_units, self.owner)) as lost:
            if lost:
                await self.once(claims.release_lost, self.owner, lost)

    async def end_lease(self) -> None:
        """Give back all units, because the worker stops."""
        await self.once(leases.end_lease, self.owner)

    async def reject(
        self, unit: ClaimedUnit, rejection: Rejection, key: str, purchase: Purchase | None
    ) -> None:
        """Store an answer that is not accepted; the unit goes on."""
        try:
            await self(
                outcomes.record_rejection, unit, rejection, unit.rejections, key, purchase, self.clock()
            )
        except Exception:
            if purchase:
                await self.keep(unit, purchase)
            raise
        self._on_committed([purchase])

    async def keep(self, unit: ClaimedUnit, purchase: Purchase) -> None:
        """Store an answer that was paid for, even if its unit fails; if it cannot be stored, its price."""
        try:
            await self(outcomes.keep_purchase, unit, purchase, self.clock())
        except Exception:
            await self(outcomes.keep_purchase, unit, without_answer(purchase), self.clock())
            raise
        self._on_committed([purchase])

    async def release(self, units: Sequence[ClaimedUnit]) -> None:
        """Give the units back, so that any worker can claim them at once."""
        unit_ids = [unit.unit_id for unit in units]
        self._put_down(unit_ids)
        await self(claims.release_units, self.owner, unit_ids)

    def _put_down(self, unit_ids: Iterable[int]) -> None:
        for unit_id in unit_ids:
            self._in_hand.pop(unit_id, None)

    def close(self) -> None:
        self._threads.shutdown()

    async def _claim(self, messages: Sequence[Sequence[int]]) -> list[list[ClaimedUnit]]:
        """Return the units of each message that this worker now owns. A unit that two messages name belongs
        to the first of them."""
        await self._require_lease()
        unit_ids = [unit_id for message in messages for unit_id in message]
        units = await self(
            lambda db: claims.claim_units(
                db, self.owner, unit_ids, self.clock(), take_over=self.clock() >= self._away_at + self.lease
            )
        )
        unclaimed = {unit.unit_id: unit for unit in units}
        self._put_down(unit_id for unit_id in unit_ids if unit_id not in unclaimed)
        return [
            [unclaimed.pop(unit_id) for unit_id in message if unit_id in unclaimed] for message in messages
        ]

    async def _reserve(self, calls: Sequence[CallClaim]) -> list[ReserveResult]:
        await self._require_lease()
        return await self(purchases.reserve, self.owner, calls, self.clock())

    async def _require_lease(self) -> None:
        """Begin the lease; or extend it now, if the process slept beyond its end."""
        while self.clock() > self._live_until:
            await self._extend_lease(self)

    async def _extend_lease(self, transaction: Callable[..., Awaitable[Any]]) -> None:
        await transaction(lambda db: db.clock.synchronize())
        if self._live_until == float("-inf"):
            self._away_at = max(self._away_at, await transaction(Database.server_start))
        now = self.clock()
        await transaction(leases.extend_lease, self.owner, now, self.lease)
        self._live_until = now + self.lease

    async def _finish(self, groups: Sequence[Sequence[UnitOutcome]]) -> list[None]:
        ended = [outcome for group in groups for outcome in group]
        await self(outcomes.finish_units, ended, self.clock())
        self._on_committed(outcome.purchase for outcome in ended)
        return [None] * len(groups)


def _log_trouble(state: RetryCallState) -> None:
    error = state.outcome and state.outcome.exception()
    if error:
        trouble_log.warning(database_trouble(error), "waiting for it")
