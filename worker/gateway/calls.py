"""Calls in flight: one for each key, whoever and however many wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from worker.gateway.shelf import Answer, Shelf


class Calls:
    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._running: dict[str, asyncio.Task[Answer]] = {}

    def __len__(self) -> int:
        return len(self._running)

    async def ask(self, key: str, buy: Callable[[], Awaitable[Answer]]) -> Answer:
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

    async def _run(self, key: str, buy: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            answer = await buy()
        finally:
            del self._running[key]
        if answer.bought:
            self.shelf.put(key, answer)
        return answer
