"""Connections of the run page: a request must be whole in time, and only so many may be unfinished."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class BoundedConnection(H11Protocol):
    """A connection that is cut unless each request, with its body, is whole in `request_seconds`.

    Of more than `max_unfinished` connections without a whole request, the oldest is cut: a browser sends its
    request at once, and only who holds connections open for their own sake is hit.
    """

    request_seconds: ClassVar[float] = 10.0
    max_unfinished: ClassVar[int] = 100

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._time_limit: asyncio.TimerHandle | None = None
        self._since = self.loop.time()
        self._is_cut = False

    @property
    def is_unfinished(self) -> bool:
        return not self._is_cut and self.conn.their_state in {h11.IDLE, h11.SEND_BODY}

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._limit_time()
        others: Any = self.connections
        unfinished = [each for each in others if each.is_unfinished]
        if len(unfinished) > self.max_unfinished:
            min(unfinished, key=lambda each: each._since)._cut()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._limit_time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_time_limit()
        super().connection_lost(exc)

    def _limit_time(self) -> None:
        """Begin the time of a request that has begun; end it if that is whole. More bytes give no more."""
        if not self.is_unfinished:
            self._end_time_limit()
        elif self._time_limit is None:
            self._since = self.loop.time()
            self._time_limit = self.loop.call_later(self.request_seconds, self._cut)

    def _end_time_limit(self) -> None:
        if self._time_limit:
            self._time_limit.cancel()
            self._time_limit = None

    def _cut(self) -> None:
        self._is_cut = True
        self.transport.abort()
