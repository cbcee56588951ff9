"""The ledger as the coroutines of a worker process use it: in threads, in batches, with patience."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_delay,
    wait_random_exponential,
)

from models.core.types import Rejection
from storage.database import WORKER_CONNECTIONS, Database
from storage.ledger import claims, outcomes, purchases
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome, without_answer
from storage.ledger.purchases import CallClaim, Purchase, ReserveResult
from storage.logs import OncePerMinute
from storage.service_errors import database_trouble
from worker.micro_batch import MicroBatch

trouble_log = OncePerMinute(logging.getLogger(__name__))
MAX_PATIENCE_WHILE_STOPPING = 60.0
P = ParamSpec("P")
T = TypeVar("T")


class LedgerAccess:
    """`owner` is the name that leases carry, `lease` their length in seconds. `clock` gives seconds since the
    epoch. `stopping` is set when the worker stops. `on_committed` gets the purchases of each commit.

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
        # How often each unit was claimed: one may be released and come back before the first claim is over.
        self._in_hand: Counter[int] = Counter()
        self._stopping = stopping
        self._on_committed = on_committed
        # SQLite has one writer; more threads would only queue for its lock.
        self._threads = ThreadPoolExecutor(1 if db.is_sqlite else WORKER_CONNECTIONS, "ledger")
        self.claim = MicroBatch(self._claim)
        self.reserve = MicroBatch(self._reserve)
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
        return await loop.run_in_executor(self._threads, lambda: function(self.db, *args, **kwargs))

    @contextmanager
    def in_hand(self, units: Sequence[ClaimedUnit]) -> Iterator[None]:
        """Extend the leases of the units within the block. Those of others of this owner expire."""
        unit_ids = [unit.unit_id for unit in units]
        self._in_hand.update(unit_ids)
        try:
            yield
        finally:
            self._in_hand -= Counter(unit_ids)

    async def extend_leases(self) -> None:
        held = sorted(self._in_hand)
        if held:
            await self.once(claims.extend_leases, self.owner, held, self.clock(), self.lease)

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
        """Give up the leases, so that other workers can claim the units at once."""
        await self(claims.release_units, self.owner, [unit.unit_id for unit in units])

    def close(self) -> None:
        self._threads.shutdown()

    async def _claim(self, messages: Sequence[Sequence[int]]) -> list[list[ClaimedUnit]]:
        """Return the units of each message that this worker now owns. A unit that two messages name belongs
        to the first of them."""
        unit_ids = [unit_id for message in messages for unit_id in message]
        units = await self(claims.claim_units, self.owner, unit_ids, self.clock(), self.lease)
        unclaimed = {unit.unit_id: unit for unit in units}
        return [
            [unclaimed.pop(unit_id) for unit_id in message if unit_id in unclaimed] for message in messages
        ]

    async def _reserve(self, calls: Sequence[CallClaim]) -> list[ReserveResult]:
        return await self(purchases.reserve, self.owner, calls, self.clock(), self.lease)

    async def _finish(self, groups: Sequence[Sequence[UnitOutcome]]) -> list[None]:
        ended = [outcome for group in groups for outcome in group]
        await self(outcomes.finish_units, ended, self.clock())
        self._on_committed(outcome.purchase for outcome in ended)
        return [None] * len(groups)


def _log_trouble(state: RetryCallState) -> None:
    error = state.outcome and state.outcome.exception()
    if error:
        trouble_log.warning(database_trouble(error), "waiting for it")
