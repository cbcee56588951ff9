"""Fewer transactions: items that come at about the same time share one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LINGER_SECONDS = 0.02
MAX_ITEMS = 200


class MicroBatch(Generic[Item, Result]):
    """`process` handles a list of items in one transaction and returns a result for each, in order.

    Awaiting an item waits for its transaction, which begins `linger` seconds after the last one ended: the
    first item after a quiet time does not wait. If the transaction fails, each item is tried alone, so that
    one bad item does not fail the others. One batch runs at a time. Belongs to one event loop.
    """

    def __init__(
        self,
        process: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        linger: float = LINGER_SECONDS,
    ) -> None:
        self._process = process
        self._linger = linger
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._running: asyncio.Task[None] | None = None
        self._due = 0.0  # the loop's time

    async def __call__(self, item: Item) -> Result:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._running is None:
            # A fresh context: log lines of the batch must not name the unit that came first.
            self._running = asyncio.create_task(self._run(), context=Context())
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                if len(self._waiting) < MAX_ITEMS:
                    await asyncio.sleep(self._due - loop.time())
                batch, self._waiting = self._waiting[:MAX_ITEMS], self._waiting[MAX_ITEMS:]
                await self._run_batch(batch)
                self._due = loop.time() + self._linger
        finally:
            self._running = None

    async def _run_batch(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._process([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 (it is raised in the callers)
            if len(batch) == 1:
                if not batch[0][1].done():
                    batch[0][1].set_exception(error)
                return
            for each in batch:
                await self._run_batch([each])
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
