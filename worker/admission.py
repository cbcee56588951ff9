"""Where the calls of one process wait until the limits that all processes share let them start."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, replace

from redis.exceptions import RedisError

from storage.limits.limiter import CallOutcome, CallReport, Decision, Limiter, Quota

log = logging.getLogger(__name__)
GATHER = 0.01  # least time between two exchanges: what comes in between goes together
FLUSH = 0.05  # how long a report may wait for company
ALIVE = 3.0  # longest silence while calls are in flight or wait
MAX_REQUESTS = 256
MIN_PAUSE = 0.1  # after Redis did not answer; doubles
MAX_PAUSE = 2.0
CLOSE_SECONDS = 1.0  # most time for the exchange that closes the gate


@dataclass(frozen=True, slots=True)
class Permit:
    """To make one call, from `start` (the loop's time) on. To be given back by `leave`."""

    tokens: int
    start: float
    probe: bool = False


class UnlimitedAdmission:
    """Before a model in this process, whose engine bounds what it answers at once."""

    async def enter(self, tokens: int) -> Permit:
        return Permit(tokens, 0.0)

    def leave(self, permit: Permit, report: CallReport) -> None: ...


class AdmissionQueue:
    """One for each limiter and process; lives on one event loop, whose time it takes.

    Nothing is sent while no call waits or is in flight. While Redis is away calls wait, and none starts.
    `quota_of` is asked before each exchange; `name` is for the log.
    """

    def __init__(self, limiter: Limiter, quota_of: Callable[[], Quota], owner: str, name: str) -> None:
        self._limiter = limiter
        self._quota_of = quota_of
        self._owner = owner
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[int, asyncio.Future[Permit]]] = deque()
        self._reports: list[CallReport] = []
        self._reported = 0.0  # when the oldest of them came
        self._in_flight = 0
        self._exchanged = -ALIVE
        self._ask_at = 0.0  # earlier, the limiter would not let another start
        self._full = False
        self._pause = 0.0  # until Redis is tried again
        self._timer: asyncio.TimerHandle | None = None
        self._exchanging: asyncio.Task[None] | None = None
        self._closed = False

    async def enter(self, tokens: int) -> Permit:
        """Return when a call of `tokens` may start, in order of arrival. Whoever enters must `leave`,
        unless this is cancelled, as it is when the gate closes."""
        if self._closed:
            raise asyncio.CancelledError
        found: asyncio.Future[Permit] = self._loop.create_future()
        self._waiting.append((tokens, found))
        self._plan()
        try:
            permit = await found
            delay = permit.start - self._loop.time()
            if delay > 0:
                await asyncio.sleep(delay)
        except asyncio.CancelledError:
            if found.done() and not found.cancelled():
                self._give_back(found.result())
            raise
        return permit

    def leave(self, permit: Permit, report: CallReport) -> None:
        """The call has ended, or was not made; its place is free."""
        self._in_flight -= 1
        if not self._reports:
            self._reported = self._loop.time()
        self._reports.append(replace(report, probe=True) if permit.probe else report)
        if self._full:
            self._ask_at = 0.0
        self._plan()

    async def close(self) -> None:
        """Cancel who waits, and tell the limiter what it does not know yet, if it answers at once."""
        self._closed = True
        for _, found in self._waiting:
            found.cancel()
        if self._timer:
            self._timer.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                if self._exchanging:
                    await self._exchanging
                if self._reports:
                    await self._exchange()

    def _give_back(self, permit: Permit) -> None:
        self.leave(permit, CallReport(CallOutcome.UNSENT, tokens=-permit.tokens))

    def _plan(self) -> None:
        """See to it that the next exchange is in time."""
        due = None if self._closed or self._exchanging else self._due()
        if due is None:
            return
        if self._timer:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        # A context of its own: what is logged in there is not about the call that happened to be first.
        self._timer = self._loop.call_at(due, self._begin, context=Context())

    def _due(self) -> float | None:
        if not self._waiting and not self._in_flight and not self._reports:
            return None
        due = self._exchanged + ALIVE
        if self._reports:
            due = min(due, self._reported + FLUSH)
        if self._waiting and self._room():
            due = min(due, max(self._ask_at, self._exchanged + GATHER))
        return max(due, self._exchanged + self._pause)

    def _room(self) -> int:
        most = self._quota_of().max_concurrency
        return MAX_REQUESTS if most is None else max(0, min(MAX_REQUESTS, most - self._in_flight))

    def _begin(self) -> None:
        self._timer = None
        self._exchanging = self._loop.create_task(self._exchange())
        self._exchanging.add_done_callback(self._end)

    def _end(self, exchange: asyncio.Task[None]) -> None:
        self._exchanging = None
        if not exchange.cancelled() and (error := exchange.exception()):
            for _, found in self._waiting:  # nobody foresaw it: better that calls fail than that they hang
                if not found.done():
                    found.set_exception(error)
            self._waiting.clear()
        self._plan()

    async def _exchange(self) -> None:
        self._waiting = deque(one for one in self._waiting if not one[1].cancelled())
        asked = list(self._waiting)[: self._room()]
        reports, self._reports = self._reports, []
        try:
            answers = await self._limiter.exchange(
                self._quota_of(), self._owner, self._in_flight, reports, [tokens for tokens, _ in asked]
            )
        except RedisError as error:
            # It may have been done all the same; what is told twice makes the limits stricter for a moment.
            self._reports = reports + self._reports
            if not self._pause:
                log.warning("%s: calls wait until Redis is back: %s", self._name, error)
            self._pause = min(2 * self._pause or MIN_PAUSE, MAX_PAUSE)
            return
        finally:
            self._exchanged = self._loop.time()
        self._pause = self._ask_at = 0.0
        self._full = False
        for answer in answers:
            if not answer.granted:
                self._ask_at, self._full = self._exchanged + answer.wait, answer.full
                break
            self._admit(answer)
            # The next would start no sooner than the last: no need to ask before half of that is over.
            self._ask_at = self._exchanged + answer.wait / 2

    def _admit(self, answer: Decision) -> None:
        """The first who waits goes through; if he has left, the permit goes back."""
        tokens, found = self._waiting.popleft()
        permit = Permit(tokens, self._exchanged + answer.wait, answer.probe)
        self._in_flight += 1
        if found.cancelled():
            self._give_back(permit)
        else:
            found.set_result(permit)
