"""The limiter that all worker processes share: one atomic Redis script."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from models.adapters.tcp_keepalive import tcp_options
from storage.limits import limiter
from storage.limits.limiter import CallReport, Decision, Quota, redis_keys


def connect_redis(url: str) -> Redis:
    """Return a client whose calls fail within seconds when Redis is away: callers try again themselves."""
    return Redis.from_url(
        url, socket_timeout=3, socket_connect_timeout=3, socket_keepalive=True,
        socket_keepalive_options=tcp_options(), retry=Retry(NoBackoff(), 0),
    )  # fmt: skip


class RedisLimiter:
    """A limiter with two Redis keys for each `name`, in one slot of a cluster; they expire after STATE_TTL.

    Without a `clock` (seconds since the epoch) the time is the server's.
    """

    def __init__(self, redis: Redis, name: str, clock: Callable[[], float] | None = None) -> None:
        self._redis = redis
        self._keys = redis_keys(name)
        self._clock = clock
        self._script = redis.register_script(_script())

    async def exchange(
        self, quota: Quota, owner: str, in_flight: int, reports: Sequence[CallReport], wants: Sequence[int]
    ) -> list[Decision]:
        call = {
            "now": self._clock() if self._clock else 0,
            "rpm": quota.rpm or 0,
            "tpm": quota.tpm or 0,
            "max_concurrency": quota.max_concurrency or 0,
            "owner": owner,
            "in_flight": in_flight,
            "reports": [_row(report) for report in reports],
            "wants": list(wants),
        }
        reply = await self._script(keys=self._keys, args=[json.dumps(call)])
        probe, full, wait, *starts = json.loads(reply)
        granted = [Decision(True, start, probe=probe == 1) for start in starts]
        return granted + [Decision(False, wait, full=full == 1)] * (len(wants) - len(granted))

    async def close(self) -> None:
        """Close the client's connections. A client that others still use opens new ones."""
        await self._redis.aclose()


def _row(report: CallReport) -> list[str | float]:
    return [report.outcome, report.tokens, report.retry_after or 0, report.rpm or 0, report.tpm or 0,
            int(report.probe)]  # fmt: skip


@cache
def _script() -> str:
    """Return exchange.lua, with the constants of `limiter` before it."""
    constants = [f"local {name} = {value!r}" for name, value in vars(limiter).items() if name.isupper()]
    return "\n".join([*constants, files(__package__).joinpath("exchange.lua").read_text("utf-8")])
