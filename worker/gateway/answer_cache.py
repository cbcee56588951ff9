"""Answers that were bought and may not be in the ledger yet, and the calls in flight, one for each key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

# The memory of an answer besides its body: headers, key, dictionary entries.
OVERHEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """The response to a call. `relayed` is true if it is the provider's, false if it is the gateway's own."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    relayed: bool = True

    @property
    def bought(self) -> bool:
        return self.relayed and 200 <= self.status < 300

    @property
    def size(self) -> int:
        return len(self.body) + OVERHEAD_BYTES


class AnswerCache:
    """Holds answers for `seconds` and up to `max_bytes`; the oldest go first. `clock` gives seconds."""

    def __init__(self, seconds: float, max_bytes: int, clock: Callable[[], float]) -> None:
        self._seconds, self._max_bytes, self._clock = seconds, max_bytes, clock
        # Oldest first.
        self._held: dict[str, tuple[float, CachedAnswer]] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: str) -> CachedAnswer | None:
        self.trim()
        entry = self._held.get(key)
        return entry[1] if entry else None

    def put(self, key: str, answer: CachedAnswer) -> None:
        self.forget([key])
        self._held[key] = (self._clock(), answer)
        self.bytes += answer.size
        self.trim()

    def forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            if entry := self._held.pop(key, None):
                self.bytes -= entry[1].size

    def trim(self) -> None:
        """Drop answers that are too old or too many."""
        oldest = self._clock() - self._seconds
        while self._held:
            key, (since, _) = next(iter(self._held.items()))
            if since > oldest and self.bytes <= self._max_bytes:
                return
            self.forget([key])


class CallsInFlight:
    def __init__(self, cache: AnswerCache) -> None:
        self.cache = cache
        self._running: dict[str, asyncio.Task[CachedAnswer]] = {}

    def __len__(self) -> int:
        return len(self._running)

    async def ask(self, key: str, buy: Callable[[], Awaitable[CachedAnswer]]) -> CachedAnswer:
        """Return the held answer, or wait for the call in flight, or buy.

        A call goes on if a caller is cancelled. Errors are not held: one goes to all callers that wait, and
        the next caller buys again.
        """
        if held := self.cache.get(key):
            return held
        if key not in self._running:
            self._running[key] = asyncio.create_task(self._run(key, buy))
        return await asyncio.shield(self._running[key])

    async def close(self) -> None:
        for call in self._running.values():
            call.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _run(self, key: str, buy: Callable[[], Awaitable[CachedAnswer]]) -> CachedAnswer:
        try:
            answer = await buy()
        finally:
            del self._running[key]
        if answer.bought:
            self.cache.put(key, answer)
        return answer
