"""Answers that were bought and may not be in the ledger yet.

Calls in flight: one for each key, whoever and however many wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

# Of an answer beside its body: headers, key, places in dictionaries.
OVERHEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """What comes back for a call. `relayed` means that the provider said it, not the gateway."""

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
    """Holds answers for `seconds` and up to `most_bytes`; the oldest go first. `clock` gives seconds."""

    def __init__(self, seconds: float, most_bytes: int, clock: Callable[[], float]) -> None:
        self._seconds, self._most_bytes, self._clock = seconds, most_bytes, clock
        # In the order of their time.
        self._held: dict[str, tuple[float, CachedAnswer]] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: str) -> CachedAnswer | None:
        self.trim()
        found = self._held.get(key)
        return found[1] if found else None

    def put(self, key: str, answer: CachedAnswer) -> None:
        self.forget([key])
        self._held[key] = (self._clock(), answer)
        self.bytes += answer.size
        self.trim()

    def forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            if found := self._held.pop(key, None):
                self.bytes -= found[1].size

    def trim(self) -> None:
        """Drop what is too old or too much."""
        oldest = self._clock() - self._seconds
        while self._held:
            key, (since, _) = next(iter(self._held.items()))
            if since > oldest and self.bytes <= self._most_bytes:
                return
            self.forget([key])


class CallsInFlight:
    def __init__(self, shelf: AnswerCache) -> None:
        self.shelf = shelf
        self._running: dict[str, asyncio.Task[CachedAnswer]] = {}

    def __len__(self) -> int:
        return len(self._running)

    async def ask(self, key: str, buy: Callable[[], Awaitable[CachedAnswer]]) -> CachedAnswer:
        """The answer that is held, or that of the call in flight, or bought now.

        A caller that is cancelled leaves the call as it is. Only answers are held: an error goes to all
        who wait for it, and whoever asks next asks anew.
        """
        if held := self.shelf.get(key):
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
            self.shelf.put(key, answer)
        return answer
