"""Read how much of a limit is used, without changing it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from storage.limits.limiter import OWNER_TTL, USE_SECONDS, Quota, lower_limit, redis_keys
from storage.limits.troubles import Trouble, sum_troubles, trouble_key

if TYPE_CHECKING:
    from redis import Redis

REQUESTS, TOKENS, IN_FLIGHT = "requests_per_minute", "tokens_per_minute", "in_flight"


@dataclass(frozen=True, slots=True)
class LimitUsage:
    """The `used` part of each limit, by REQUESTS, TOKENS and IN_FLIGHT.

    `allowed` holds the known limits: set, learned from headers, or cut by 429s. Since the state exists,
    `calls` were granted and `refused` were answered 429. `blocked` is the rest of a Retry-After in seconds,
    `trouble` what workers report. `due` holds the seconds until REQUESTS and TOKENS allow the next call.
    """

    used: Mapping[str, float]
    allowed: Mapping[str, float]
    calls: int
    refused: int
    blocked: float
    circuit_open: bool
    trouble: Trouble | None = None
    due: Mapping[str, float] = field(default_factory=dict)

    @property
    def shares(self) -> dict[str, float]:
        """Return the used share of each known limit, 0 to 1."""
        return {name: min(1.0, self.used[name] / limit) for name, limit in self.allowed.items() if limit}


def connect_reader(url: str) -> Redis:
    """Return a client that gives up after a second, for displays that work without Redis."""
    # Imported late: most commands that can show a limit show none.
    from redis import Redis

    return Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1, decode_responses=True, retry=None)


def read_usage(client: Redis, name: str, quota: Quota, now: float | None = None) -> LimitUsage:
    """Return the usage of `name` at `now`, seconds since the epoch; the default is the server's time.

    Raise redis.exceptions.RedisError if Redis cannot be reached.
    """
    pipeline = client.pipeline(transaction=False)
    for key in redis_keys(name):
        pipeline.hgetall(key)
    pipeline.hvals(trouble_key(name))
    pipeline.time()
    stored, owners, troubles, (seconds, micro) = pipeline.execute()
    now = seconds + micro / 1e6 if now is None else now
    state = {field: float(value) for field, value in stored.items()}
    faded = math.exp(-max(0.0, now - state.get("used_at", now)) / USE_SECONDS)
    rpm = state.get("rate") or lower_limit(quota.rpm, state.get("told_rpm", 0.0))
    tpm = lower_limit(quota.tpm, state.get("told_tpm", 0.0))
    reports = (value.split() for value in owners.values())
    in_flight = sum(int(calls) for calls, at in reports if now - float(at) <= OWNER_TTL)
    limits = {REQUESTS: rpm, TOKENS: tpm, IN_FLIGHT: quota.max_concurrency}
    return LimitUsage(
        used={
            REQUESTS: state.get("requests_used", 0.0) * faded,
            TOKENS: state.get("tokens_used", 0.0) * faded,
            IN_FLIGHT: in_flight,
        },
        allowed={name: float(limit) for name, limit in limits.items() if limit},
        calls=int(state.get("calls", 0)),
        refused=int(state.get("refused", 0)),
        blocked=max(0.0, state.get("blocked_until", 0.0) - now),
        circuit_open=state.get("backoff", 0.0) > 0,
        trouble=sum_troubles(troubles, now),
        due={
            name: max(0.0, state.get(at, 0.0) - now)
            for name, at in ((REQUESTS, "requests_due"), (TOKENS, "tokens_due"))
            if limits[name]
        },
    )
