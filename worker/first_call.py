"""The first call of a model in a run is made alone: a wrong key, model or parameter costs one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from models.core import errors

T = TypeVar("T")
# A server that refuses a key does so at once: calls wait no longer for the first one.
MAX_SECONDS = 15.0
# In this time the run is paused after its first call was refused.
REFUSED_SECONDS = 0.5


class FirstCall:
    """Let one call go alone until one has an answer, or is refused for a reason of its row. A model in this
    process is `answered` from the start."""

    def __init__(self, answered: bool = False) -> None:
        self.answered = answered
        self._refused = False
        self._lock = asyncio.Lock()

    async def make(
        self, call: Callable[[], Awaitable[T]], require_running: Callable[[], Awaitable[None]]
    ) -> T:
        """Make the call in its turn. `require_running` raises if the run was paused meanwhile."""
        if self.answered:
            return await call()
        waits = self._lock.locked()
        try:
            async with asyncio.timeout(MAX_SECONDS):
                await self._lock.acquire()
        except TimeoutError:
            return await call()
        try:
            if not self.answered:
                if waits:
                    await self._check(require_running)
                return await self._make_alone(call)
        finally:
            self._lock.release()
        return await call()

    async def _check(self, require_running: Callable[[], Awaitable[None]]) -> None:
        if self._refused:
            await asyncio.sleep(REFUSED_SECONDS)
            self._refused = False
        await require_running()

    async def _make_alone(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            result = await call()
        except errors.AccessError:
            self._refused = True
            raise
        except errors.BadRequest as error:
            self.answered = not isinstance(error, errors.StrayRefusal)
            raise
        self.answered = True
        return result
