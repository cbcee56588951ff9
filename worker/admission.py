"""A queue in which the calls of one process wait until the limits that all processes share let them start."""

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
from storage.logs import OncePerMinute
from storage.service_errors import redis_trouble

trouble_log = OncePerMinute(logging.getLogger(__name__))
MIN_INTERVAL_SECONDS = 0.01  # between two exchanges; calls that arrive in between go together
MAX_REPORT_DELAY_SECONDS = 0.05
MAX_INTERVAL_SECONDS = 3.0  # while calls are in flight or wait
MAX_REQUESTS = 256
MIN_PAUSE_SECONDS = 0.1  # after Redis did not answer; doubles
MAX_PAUSE_SECONDS = 2.0
MAX_CLOSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Permit:
    """The permission for one call, from `start` (the loop's time) on."""

    tokens: int
    start: float
    probe: bool = False


class UnlimitedAdmission:
    """Admission to a model in this process, whose engine limits the calls in flight."""

    async def acquire(self, tokens: int, run: str = "") -> Permit:
        return Permit(tokens, 0.0)

    def release(self, permit: Permit, report: CallReport) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class WaitingCall:
    """A call of a run that waits since `since` (the loop's time)."""

    tokens: int
    run: str
    since: float
    granted: asyncio.Future[Permit]


class AdmissionQueue:
    """The queue of one limiter in one process. It belongs to an event loop, and its times are the loop's.

    Nothing is sent while no call waits or is in flight. While Redis is away, calls wait and none starts.
    `get_quota` is called before each exchange; `name` appears in the log.
    """

    def __init__(self, limiter: Limiter, get_quota: Callable[[], Quota], owner: str, name: str) -> None:
        self._limiter = limiter
        self._get_quota = get_quota
        self._owner = owner
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[WaitingCall] = deque()
        self._reports: list[CallReport] = []
        self._reported_at = 0.0  # when the oldest of them came
        self._in_flight = 0
        self._exchanged_at = -MAX_INTERVAL_SECONDS
        self._ask_at = 0.0  # before this time the limiter would admit no other call
        self._full = False
        self._pause = 0.0  # until Redis is tried again
        self._timer: asyncio.TimerHandle | None = None
        self._exchanging: asyncio.Task[None] | None = None
        self._closed = False

    async def acquire(self, tokens: int, run: str = "") -> Permit:
        """Return when a call of `tokens` may start, in order of arrival. The caller must `release` the
        permit, unless this is cancelled. Closing the queue cancels it, and so does cancelling the run."""
        if self._closed:
            raise asyncio.CancelledError
        granted: asyncio.Future[Permit] = self._loop.create_future()
        self._waiting.append(WaitingCall(tokens, run, self._loop.time(), granted))
        self._schedule()
        try:
            permit = await granted
            delay = permit.start - self._loop.time()
            if delay > 0:
                await asyncio.sleep(delay)
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._release_unused(granted.result())
            raise
        return permit

    def release(self, permit: Permit, report: CallReport) -> None:
        """End a call, made or not, and let another start."""
        self._in_flight -= 1
        if not self._reports:
            self._reported_at = self._loop.time()
        self._reports.append(replace(report, probe=True) if permit.probe else report)
        if self._full:
            self._ask_at = 0.0
        self._schedule()

    def cancel_run(self, run: str) -> None:
        """Cancel the calls of a run that wait."""
        for call in self._waiting:
            if call.run == run:
                call.granted.cancel()

    def long_waits(self, seconds: float) -> tuple[int, float]:
        """Return how many calls have waited for longer, and how long the first of them."""
        now = self._loop.time()
        waited = [now - call.since for call in self._waiting if not call.granted.done()]
        return sum(each > seconds for each in waited), max(waited, default=0.0)

    async def close(self) -> None:
        """Cancel waiting calls, and send the last reports if the limiter answers at once."""
        self._closed = True
        for call in self._waiting:
            call.granted.cancel()
        if self._timer:
            self._timer.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MAX_CLOSE_SECONDS):
                if self._exchanging:
                    await self._exchanging
                if self._reports:
                    await self._exchange()

    def _release_unused(self, permit: Permit) -> None:
        self.release(permit, CallReport(CallOutcome.UNSENT, tokens=-permit.tokens))

    def _schedule(self) -> None:
        """Set the timer for the next exchange."""
        due = None if self._closed or self._exchanging else self._due()
        if due is None:
            return
        if self._timer:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        # A fresh context: log lines of the exchange must not name the call that came first.
        self._timer = self._loop.call_at(due, self._begin, context=Context())

    def _due(self) -> float | None:
        if not self._waiting and not self._in_flight and not self._reports:
            return None
        due = self._exchanged_at + MAX_INTERVAL_SECONDS
        if self._reports:
            due = min(due, self._reported_at + MAX_REPORT_DELAY_SECONDS)
        if self._waiting and self._room():
            due = min(due, max(self._ask_at, self._exchanged_at + MIN_INTERVAL_SECONDS))
        return max(due, self._exchanged_at + self._pause)

    def _room(self) -> int:
        limit = self._get_quota().max_concurrency
        return MAX_REQUESTS if limit is None else max(0, min(MAX_REQUESTS, limit - self._in_flight))

    def _begin(self) -> None:
        self._timer = None
        self._exchanging = self._loop.create_task(self._exchange())
        self._exchanging.add_done_callback(self._end)

    def _end(self, exchange: asyncio.Task[None]) -> None:
        self._exchanging = None
        if not exchange.cancelled() and (error := exchange.exception()):
            for call in self._waiting:  # an unforeseen error: calls fail, so that they do not hang
                if not call.granted.done():
                    call.granted.set_exception(error)
            self._waiting.clear()
        self._schedule()

    async def _exchange(self) -> None:
        self._waiting = deque(call for call in self._waiting if not call.granted.cancelled())
        wants = [call.tokens for call in self._waiting][: self._room()]
        reports, self._reports = self._reports, []
        try:
            answers = await self._limiter.exchange(
                self._get_quota(), self._owner, self._in_flight, reports, wants
            )
        except RedisError as error:
            # The exchange may have happened; a report that is sent twice makes limits stricter for a moment.
            self._reports = reports + self._reports
            trouble_log.warning(redis_trouble(error), f"calls to {self._name} wait until that is over")
            self._pause = min(2 * self._pause or MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
            return
        finally:
            self._exchanged_at = self._loop.time()
        self._pause = self._ask_at = 0.0
        self._full = False
        for answer in answers:
            if not answer.granted:
                self._ask_at, self._full = self._exchanged_at + answer.wait, answer.full
                break
            self._admit(answer)
            # The next call would start no sooner than this one: half of the wait is early enough to ask.
            self._ask_at = self._exchanged_at + answer.wait / 2

    def _admit(self, answer: Decision) -> None:
        """Admit the first waiting call; if it was cancelled, release its permit."""
        call = self._waiting.popleft()
        permit = Permit(call.tokens, self._exchanged_at + answer.wait, answer.probe)
        self._in_flight += 1
        if call.granted.cancelled():
            self._release_unused(permit)
        else:
            call.granted.set_result(permit)
