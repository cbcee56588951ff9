"""Many small transactions become few: what is asked for at about the same time shares one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Units wait for the ledger between calls, never in the middle of one: a little patience costs no speed.
LINGER_SECONDS = 0.02
MAX_ITEMS = 200


class MicroBatch(Generic[Item, Result]):
    """`together` does a list of items in one transaction and gives a result for each, in order.

    Awaiting an item waits for its transaction. Where the transaction fails, each item is tried alone, so
    that none fails for another's sake. One batch is under way at a time; lives on one event loop.
    """

    def __init__(
        self,
        together: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        linger: float = LINGER_SECONDS,
    ) -> None:
        self._together = together
        self._linger = linger
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._pump: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._pump is None:
            # A context of its own: what is logged in there is not about whoever came first.
            self._pump = asyncio.create_task(self._run(), context=Context())
        return await done

    async def _run(self) -> None:
        try:
            while self._waiting:
                if len(self._waiting) < MAX_ITEMS:
                    await asyncio.sleep(self._linger)
                batch, self._waiting = self._waiting[:MAX_ITEMS], self._waiting[MAX_ITEMS:]
                await self._do(batch)
        finally:
            self._pump = None

    async def _do(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._together([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 (it is raised where it belongs)
            if len(batch) == 1:
                _fail(batch[0][1], error)
                return
            for each in batch:
                await self._do([each])
            return
        for (_, done), result in zip(batch, results, strict=True):
            if not done.done():
                done.set_result(result)


def _fail(done: asyncio.Future[Result], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
