"""Items that are asked for together share a transaction, and none fails for another's sake."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from worker.micro_batch import MAX_ITEMS, MicroBatch


def together(
    do: Callable[[Sequence[int]], Awaitable[Sequence[int]]], items: Sequence[int]
) -> list[int | BaseException]:
    async def run() -> list[Any]:
        coalesced = MicroBatch(do, linger=0)
        return await asyncio.gather(*map(coalesced, items), return_exceptions=True)

    return asyncio.run(run())


def test_each_item_gets_its_own_result_from_few_batches() -> None:
    batches: list[Sequence[int]] = []

    async def double(items: Sequence[int]) -> list[int]:
        batches.append(items)
        await asyncio.sleep(0)
        return [2 * item for item in items]

    items = list(range(3 * MAX_ITEMS))
    assert together(double, items) == [2 * item for item in items]
    assert len(batches) <= 4
    assert max(map(len, batches)) <= MAX_ITEMS


def test_items_that_arrive_during_a_batch_form_the_next() -> None:
    batches: list[Sequence[int]] = []

    async def run() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(items: Sequence[int]) -> list[int]:
            batches.append(items)
            begun.set()
            await go_on.wait()
            return list(items)

        coalesced = MicroBatch(slowly, linger=0)
        first = asyncio.ensure_future(coalesced(1))
        await begun.wait()
        others = asyncio.gather(coalesced(2), coalesced(3))
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(first, others)

    asyncio.run(run())
    assert batches == [[1], [2, 3]]


def test_failing_item_fails_alone() -> None:
    async def no_seven(items: Sequence[int]) -> list[int]:
        if 7 in items:
            raise ValueError("seven")
        return list(items)

    results = together(no_seven, range(10))
    assert [item for item in results if isinstance(item, int)] == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    with pytest.raises(ValueError, match="seven"):
        raise next(item for item in results if isinstance(item, ValueError))


def test_cancelled_waiter_leaves_the_batch_to_the_others() -> None:
    async def run() -> list[int]:
        async def slowly(items: Sequence[int]) -> list[int]:
            await asyncio.sleep(0)
            return list(items)

        coalesced = MicroBatch(slowly, linger=0)
        waiting = [asyncio.ensure_future(coalesced(item)) for item in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        return [await waiting[0], await waiting[2], await coalesced(4)]

    assert asyncio.run(run()) == [0, 2, 4]
