"""Server-sent events: the live part of a page, anew whenever it is counted anew."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from models.errors import ServiceError

TICK_SECONDS = 1.0
SILENCE_SECONDS = 15.0
AWAY_SECONDS = 5.0
MOST_STREAMS = 200


class Streams:
    """All that are open; `close` ends them."""

    def __init__(self) -> None:
        self._open = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        self._closing.set()

    def stream(self, draw: Callable[[], Awaitable[str]], goes_on: Callable[[], bool]) -> Response:
        """Sends what `draw` gives as often as it changes, while `goes_on`."""
        if self._open >= MOST_STREAMS:
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
