"""While Redis is away, calls wait and none starts; then they go on by themselves."""

from __future__ import annotations

import asyncio
import logging

from producer.local.services import free_port
from storage.limits.redis_limiter import RedisLimiter, connect_redis
from tests.integration.test_admission import Crowd, gate_to
from tests.support.pipeline import wait_until
from tests.support.services import running_valkey


def test_calls_wait_while_redis_is_away() -> None:
    port = free_port()
    log = logging.getLogger("worker.admission")

    async def scene() -> None:
        warnings: asyncio.Queue[str] = asyncio.Queue()
        handler = logging.Handler()
        handler.emit = lambda record: warnings.put_nowait(record.getMessage())  # type: ignore[method-assign]
        log.addHandler(handler)
        limiter, crowd = RedisLimiter(connect_redis(f"redis://127.0.0.1:{port}/0"), "a"), Crowd(0)
        async with gate_to(limiter, rpm=6000, max_concurrency=10) as gate:
            for done in (0, 40):
                calls = asyncio.create_task(crowd.calls(gate, at_once=20, count=40))
                if done:  # said already in this minute
                    await asyncio.to_thread(wait_until, lambda: gate._pause, "the second outage is noticed")
                else:
                    message = await warnings.get()
                    assert message.startswith("Redis is away: ")
                    assert message.endswith("; calls to some-model wait until that is over")
                assert len(crowd.starts) == done
                with running_valkey(port):
                    await calls
                    if done:
                        await gate.close()
        log.removeHandler(handler)
        await limiter.close()
        assert len(crowd.starts) == 80
        assert warnings.empty()

    asyncio.run(scene())
