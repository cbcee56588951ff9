"""What the ledger says of runs, counted once for all who watch.

Counting a million units takes seconds. One run is counted at a time, and in all no more than a tenth of
the time, however many watch; in between everybody sees what was counted last.

Server-sent events: the live part of a page, anew whenever it is counted anew.
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
from storage.database import Database
from storage.ledger import runs as ledger_runs
from storage.ledger.counts import RunLine, run_lines
from storage.schema import FINISHED, RUNNING

T = TypeVar("T")
FRESH_SECONDS = 1.0
STILL_SECONDS = 30.0
# Times what counting took: a twelfth of the time for runs that go on, a fiftieth for the others.
REST, STILL_REST = 12.0, 50.0
MAX_KEPT = 256
FORGOTTEN_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """`at` is when it was counted, since the epoch; `seconds` how long that took; `ended` is of the steady
    clock."""

    line: RunLine
    status: Status
    at: float
    seconds: float
    ended: float


class RunSnapshots:
    """Belongs to one event loop. All methods raise ServiceError while the database is away."""

    def __init__(self, db: Database, limits: LimitWatch, clock: Callable[[], float] = time.monotonic) -> None:
        self.db = db
        self._limits = limits
        self._clock = clock
        self._counting = ThreadPoolExecutor(1, "counting")
        self._asking = ThreadPoolExecutor(2, "asking")
        self._known: OrderedDict[str, RunSnapshot] = OrderedDict()
        self._asked: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[RunSnapshot]] = {}
        self._lines: dict[str, RunLine] = {}
        self._listed = -FRESH_SECONDS
        self._listing = asyncio.Lock()

    async def runs(self) -> dict[str, RunLine]:
        """All runs by id, newest first."""
        async with self._listing:
            if self._clock() - self._listed >= FRESH_SECONDS:
                began = self._clock()
                found = await self.ask(run_lines)
                self._lines = {line.id: line for line in found}
                self._listed = self._clock() + REST * (self._clock() - began)
        return self._lines

    def known(self, run_id: str) -> RunSnapshot | None:
        """What was counted last."""
        return self._known.get(run_id)

    async def read(self, run_id: str) -> RunSnapshot:
        """As fresh as it may be. Raises KeyError for a run that there is not."""
        line = (await self.runs())[run_id]
        self._asked[run_id] = self._clock()
        known = self._known.get(run_id)
        if known and not self._is_due(known, line):
            return known
        return await asyncio.shield(self._begin(line))

    async def latest(self, run_id: str) -> RunSnapshot:
        """What is known, at once; it is counted anew meanwhile, if that is due. Raises KeyError."""
        await self.begin(run_id)
        return self._known.get(run_id) or await self.read(run_id)

    async def begin(self, run_id: str) -> None:
        """Have it counted without waiting for it, if that is due. Raises KeyError."""
        line = (await self.runs())[run_id]
        self._asked[run_id] = self._clock()
        known = self._known.get(run_id)
        if known is None or self._is_due(known, line):
            self._begin(line)

    async def ask(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Something small of the ledger, off the loop."""
        return await self._in(self._asking, lambda: function(self.db, *args, **kwargs))

    def close(self) -> None:
        self._counting.shutdown(cancel_futures=True)
        self._asking.shutdown(cancel_futures=True)

    def _is_due(self, known: RunSnapshot, line: RunLine) -> bool:
        if known.line == line and line.state == FINISHED:
            return False
        goes_on = line.state == RUNNING
        if known.line != line:
            rest = FRESH_SECONDS
        elif goes_on:
            rest = max(FRESH_SECONDS, REST * self._round(goes_on))
        else:
            rest = max(STILL_SECONDS, STILL_REST * self._round(goes_on))
        return self._clock() - known.ended >= rest

    def _round(self, goes_on: bool) -> float:
        """Seconds that it takes to count every run that somebody watches and that goes on, or that may be
        changed by hand."""
        since = self._clock() - FORGOTTEN_SECONDS
        return sum(
            each.seconds
            for each in self._known.values()
            if each.line.state != FINISHED
            and (each.line.state == RUNNING) == goes_on
            and self._asked.get(each.line.id, since) > since
        )

    def _begin(self, line: RunLine) -> asyncio.Task[RunSnapshot]:
        task = self._tasks.get(line.id)
        if task is None:
            task = self._tasks[line.id] = asyncio.get_running_loop().create_task(self._count(line))
            task.add_done_callback(lambda done: self._end(line.id, done))
        return task

    def _end(self, run_id: str, done: asyncio.Task[RunSnapshot]) -> None:
        del self._tasks[run_id]
        if done.cancelled() or done.exception():
            return
        self._known[run_id] = done.result()
        self._known.move_to_end(run_id)
        while len(self._known) > MAX_KEPT:
            oldest, _ = self._known.popitem(last=False)
            self._asked.pop(oldest, None)

    async def _count(self, line: RunLine) -> RunSnapshot:
        return await self._in(self._counting, lambda: self._read(line))

    def _read(self, line: RunLine) -> RunSnapshot:
        began, now = self._clock(), time.time()
        status = read_status(self.db, ledger_runs.load_run(self.db, line.id), now, self._limits)
        ended = self._clock()
        return RunSnapshot(line, status, now, ended - began, ended)

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
    """All that are open; `close` ends them."""

    def __init__(self) -> None:
        self._open = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        self._closing.set()

    def stream(self, draw: Callable[[], Awaitable[str]], goes_on: Callable[[], bool]) -> Response:
        """Sends what `draw` gives as often as it changes, while `goes_on`."""
        if self._open >= MAX_STREAMS:
            return PlainTextResponse("too many pages are open\n", 503, {"Retry-After": "60"})
        return StreamingResponse(
            self._events(draw, goes_on), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )

    async def _events(
        self, draw: Callable[[], Awaitable[str]], goes_on: Callable[[], bool]
    ) -> AsyncIterator[str]:
        self._open += 1
        shown, said = "", time.monotonic()
        try:
            while goes_on():
                pause = TICK_SECONDS
                try:
                    drawn = await draw()
                except ServiceError:
                    drawn, pause = shown, AWAY_SECONDS
                now = time.monotonic()
                if drawn != shown:
                    shown, said = drawn, now
                    yield "event: page\n" + "".join(f"data: {line}\n" for line in drawn.splitlines()) + "\n"
                elif now - said >= SILENCE_SECONDS:
                    said = now
                    yield ": still here\n\n"
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), pause)
                    return
        finally:
            self._open -= 1
