"""The first calls of a model in a run, which must not cost much if the configuration is wrong.

The first one is made alone: a wrong key, model or parameter costs one call. A model that spends the whole
token limit on reasoning in each of its first answers stops the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from models.core import errors
from models.core.answers.checks import LIMIT_USED_UP
from models.core.errors import AccessError
from models.core.types import Rejection

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


MAX_IN_A_ROW = 3


class UsedUpLimits:
    """The answers of one model in one run, as far as this process sees them."""

    def __init__(self) -> None:
        self._accepted = False
        self._in_a_row = 0

    def note(self, name: str, value: object) -> None:
        """Note an accepted answer, or a Rejection. Raise AccessError if the first answers of all hold nothing
        but reasoning: the limit is too low for every row."""
        if not isinstance(value, Rejection):
            self._accepted = True
        if self._accepted or not isinstance(value, Rejection) or value.reason != LIMIT_USED_UP:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._in_a_row >= MAX_IN_A_ROW:
            raise AccessError(
                f"{name}: {value.detail}; none of its first {self._in_a_row} answers has a text"
            )
