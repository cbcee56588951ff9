"""Snapshots of runs, counted once for all who watch, and the event streams that show them.

A snapshot is the status of a run at one moment. Counting a million units takes seconds, so one run is counted
at a time, and counting takes at most a tenth of the time, however many watch. In between all see the last
snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from models.core.errors import ServiceError
from producer.progress.status import LimitWatch, Status, read_status
from producer.serve import row_pages
from producer.serve.row_pages import ShownUnit
from storage.database import Database
from storage.ledger import runs as ledger_runs
from storage.ledger.counts import RunSummary, run_summaries
from storage.ledger_clock import REREAD_SECONDS
from storage.schema import FINISHED, RUNNING

T = TypeVar("T")
FRESH_SECONDS = 1.0
STILL_SECONDS = 30.0
# After counting for a second, rest for so many seconds; longer for runs that stand still.
REST, STILL_REST = 12.0, 50.0
MAX_KEPT = 256
NEWEST = 5
FORGOTTEN_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """The status of a run at one moment. `at` is since the epoch, `ended` a time of the steady clock."""

    run: RunSummary
    status: Status
    at: float
    seconds: float
    ended: float
    newest: tuple[ShownUnit, ...] = ()


class SnapshotCache:
    """The newest snapshots, for one event loop. All methods raise ServiceError without a database."""

    def __init__(self, db: Database, limits: LimitWatch, clock: Callable[[], float] = time.monotonic) -> None:
        self.db = db
        self._limits = limits
        self._clock = clock
        self._counting = ThreadPoolExecutor(1, "counting")
        self._querying = ThreadPoolExecutor(2, "querying")
        self._known: OrderedDict[str, RunSnapshot] = OrderedDict()
        self._requested_at: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[RunSnapshot]] = {}
        self._runs: dict[str, RunSummary] = {}
        self._listed_at = -FRESH_SECONDS
        self._listing = asyncio.Lock()

    async def runs(self) -> dict[str, RunSummary]:
        """Return all runs by id, newest first."""
        async with self._listing:
            if self._clock() - self._listed_at >= FRESH_SECONDS:
                began = self._clock()
                self._runs = {run.id: run for run in await self.query(run_summaries)}
                self._listed_at = self._clock() + REST * (self._clock() - began)
        return self._runs

    def known(self, run_id: str) -> RunSnapshot | None:
        """Return the last snapshot, if there is one."""
        return self._known.get(run_id)

    async def read(self, run_id: str) -> RunSnapshot:
        """Return a snapshot, counted anew if that is due. Raise KeyError if the run does not exist."""
        run = (await self.runs())[run_id]
        self._requested_at[run_id] = self._clock()
        known = self._known.get(run_id)
        if known and not self._is_due(known, run):
            return known
        return await asyncio.shield(self._begin(run))

    async def latest(self, run_id: str) -> RunSnapshot:
        """Return the last snapshot at once, and begin a new one if that is due. Raise KeyError."""
        await self.begin(run_id)
        return self._known.get(run_id) or await self.read(run_id)

    async def begin(self, run_id: str) -> None:
        """Begin a new snapshot if that is due, and do not wait for it. Raise KeyError."""
        run = (await self.runs())[run_id]
        self._requested_at[run_id] = self._clock()
        known = self._known.get(run_id)
        if known is None or self._is_due(known, run):
            self._begin(run)

    async def query(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a short query of the ledger outside of the loop."""
        return await self._in(self._querying, lambda: function(self.db, *args, **kwargs))

    def close(self) -> None:
        self._counting.shutdown(cancel_futures=True)
        self._querying.shutdown(cancel_futures=True)

    def _is_due(self, known: RunSnapshot, run: RunSummary) -> bool:
        if known.run == run and run.state == FINISHED:
            return False
        is_running = run.state == RUNNING
        if known.run != run:
            rest = FRESH_SECONDS
        elif is_running:
            rest = max(FRESH_SECONDS, REST * self._seconds_per_round(is_running))
        else:
            rest = max(STILL_SECONDS, STILL_REST * self._seconds_per_round(is_running))
        return self._clock() - known.ended >= rest

    def _seconds_per_round(self, is_running: bool) -> float:
        """Return the seconds that it takes to count every watched run that runs, or that stands still."""
        since = self._clock() - FORGOTTEN_SECONDS
        return sum(
            each.seconds
            for each in self._known.values()
            if each.run.state != FINISHED
            and (each.run.state == RUNNING) == is_running
            and self._requested_at.get(each.run.id, since) > since
        )

    def _begin(self, run: RunSummary) -> asyncio.Task[RunSnapshot]:
        task = self._tasks.get(run.id)
        if task is None:
            task = self._tasks[run.id] = asyncio.get_running_loop().create_task(self._count(run))
            task.add_done_callback(lambda done: self._end(run.id, done))
        return task

    def _end(self, run_id: str, done: asyncio.Task[RunSnapshot]) -> None:
        del self._tasks[run_id]
        if done.cancelled() or done.exception():
            return
        self._known[run_id] = done.result()
        self._known.move_to_end(run_id)
        while len(self._known) > MAX_KEPT:
            oldest, _ = self._known.popitem(last=False)
            self._requested_at.pop(oldest, None)

    async def _count(self, run: RunSummary) -> RunSnapshot:
        return await self._in(self._counting, lambda: self._read(run))

    def _read(self, run: RunSummary) -> RunSnapshot:
        began, now = self._clock(), time.time()
        self.db.clock.synchronize(older_than=REREAD_SECONDS)
        status = read_status(self.db, ledger_runs.load_run(self.db, run.id), self.db.clock(), self._limits)
        newest = tuple(row_pages.newest(self.db, run.id, NEWEST))
        ended = self._clock()
        return RunSnapshot(run, status, now, ended - began, ended, newest)

    async def _in(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, work)
        except (OperationalError, InterfaceError) as error:
            raise ServiceError(f"the database is away: {error.orig}") from None


TICK_SECONDS = 1.0
SILENCE_SECONDS = 15.0
AWAY_SECONDS = 5.0
MAX_STREAMS = 200


class Streams:
    """The open event streams of pages. `close` ends them."""

    def __init__(self) -> None:
        self._open = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        self._closing.set()

    def stream(self, draw: Callable[[], Awaitable[str]], goes_on: Callable[[], bool]) -> Response:
        """Return a stream that sends the result of `draw` each time it changes, while `goes_on`."""
        if self._open >= MAX_STREAMS:
            return PlainTextResponse("too many pages are open\n", 503, {"Retry-After": "60"})
        return StreamingResponse(
            self._events(draw, goes_on), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )

    async def _events(
        self, draw: Callable[[], Awaitable[str]], goes_on: Callable[[], bool]
    ) -> AsyncIterator[str]:
        self._open += 1
        shown, sent_at = "", time.monotonic()
        try:
            while goes_on():
                pause = TICK_SECONDS
                try:
                    drawn = await draw()
                except ServiceError:
                    drawn, pause = shown, AWAY_SECONDS
                now = time.monotonic()
                if drawn != shown:
                    shown, sent_at = drawn, now
                    yield "event: page\n" + "".join(f"data: {line}\n" for line in drawn.splitlines()) + "\n"
                elif now - sent_at >= SILENCE_SECONDS:
                    sent_at = now
                    yield ": still here\n\n"
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), pause)
                    return
        finally:
            self._open -= 1
