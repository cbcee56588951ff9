"""Opening a model in this process: slow, and wrong in many ways."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

QUOTED = 300
T = TypeVar("T")


async def in_a_thread(function: Callable[[], T]) -> T:
    """Like an executor's, but a process that ends does not wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: Callable[[], None]) -> None:
        if not done.done():
            result()

    def work() -> None:
        try:
            found = function()
        except BaseException as error:  # noqa: BLE001 (it is raised where it belongs)
            failed = error
            loop.call_soon_threadsafe(settle, lambda: done.set_exception(failed))
        else:
            loop.call_soon_threadsafe(settle, lambda: done.set_result(found))

    threading.Thread(target=work, name="opening", daemon=True).start()
    return await done


def first_line(error: BaseException) -> str:
    """What a library says is wrong, short; pydantic says it after a heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "validation error" in lines[0]:
        lines = lines[1:]
    said = lines[0] if lines else type(error).__name__
    return said if len(said) <= QUOTED else said[: QUOTED - 3] + "..."
