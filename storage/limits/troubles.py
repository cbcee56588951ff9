"""Troubles that keep calls of a model waiting, written by workers for people to read.

A hash in Redis for each limit name: owner -> JSON of a Trouble and its time. And a key for each queue that a
worker serves. Both expire soon after their worker ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

TTL_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Trouble:
    """`failing` calls failed, the first at `since` (seconds since the epoch), the last with `message`; they
    will be made again. `waiting` calls wait for the limits, one of them for `waited` seconds."""

    message: str = ""
    failing: int = 0
    since: float = 0.0
    waiting: int = 0
    waited: float = 0.0


def trouble_key(name: str) -> str:
    return f"starmill:limit:{{{name}}}:troubles"


def served_key(queue: str) -> str:
    return f"starmill:served:{queue}"


async def report_worker(
    redis: AsyncRedis,
    owner: str,
    queues: Iterable[str],
    troubles: Mapping[str, Trouble | None],
    now: float | None = None,
) -> None:
    """Report the queues that the worker serves, and its troubles by limit name; None where there are none.

    `now` is in seconds since the epoch, by default those of Redis, by which readers forget old reports.
    """
    if now is None and any(troubles.values()):
        seconds, micro = await redis.time()
        now = seconds + micro / 1e6
    pipeline = redis.pipeline(transaction=False)
    for queue in queues:
        pipeline.set(served_key(queue), 1, ex=TTL_SECONDS)
    for name, trouble in troubles.items():
        if trouble is None:
            pipeline.hdel(trouble_key(name), owner)
            continue
        pipeline.hset(trouble_key(name), owner, json.dumps({"at": now, **asdict(trouble)}))
        pipeline.expire(trouble_key(name), TTL_SECONDS)
    await pipeline.execute()


def sum_troubles(stored: Iterable[str], now: float) -> Trouble | None:
    """Return the troubles of all workers as one; None without any."""
    parts = [json.loads(text) for text in stored]
    recent = [Trouble(**part) for part in parts if now - part.pop("at") <= TTL_SECONDS]
    if not recent:
        return None
    failing = [each for each in recent if each.failing]
    return Trouble(
        failing[-1].message if failing else "",
        sum(each.failing for each in recent),
        min((each.since for each in failing), default=0.0),
        sum(each.waiting for each in recent),
        max(each.waited for each in recent),
    )


def unserved(redis: Redis, queues: Sequence[str]) -> list[str]:
    """Return the queues that no worker has served lately."""
    served = redis.mget([served_key(queue) for queue in queues]) if queues else []
    return [queue for queue, alive in zip(queues, served, strict=True) if not alive]
