"""How far limits are used, for those who watch: nothing is charged, nothing is changed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.limits.limiter import OWNER_TTL, USE_SECONDS, Quota, lower_limit, redis_keys

if TYPE_CHECKING:
    from redis import Redis

REQUESTS, TOKENS, IN_FLIGHT = "requests_per_minute", "tokens_per_minute", "in_flight"


@dataclass(frozen=True, slots=True)
class LimitUsage:
    """What is `used` and what is `allowed` now (said, told by the server, or cut by 429s), each by REQUESTS,
    TOKENS, IN_FLIGHT; nothing is allowed where no limit is known. `calls` were let through and `refused`
    were answered 429 since Redis forgot them last; `blocked` is the rest of a Retry-After in seconds."""

    used: Mapping[str, float]
    allowed: Mapping[str, float]
    calls: int
    refused: int
    blocked: float
    circuit_open: bool

    @property
    def shares(self) -> dict[str, float]:
        """Of what is allowed, 0 to 1."""
        return {of: min(1.0, self.used[of] / most) for of, most in self.allowed.items() if most}


def connect_reader(url: str) -> Redis:
    """A client for somebody who has other things to tell when Redis is away."""
    # Most who can show a limit have no run that uses it now.
    from redis import Redis

    return Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1, decode_responses=True, retry=None)


def read_usage(client: Redis, name: str, quota: Quota, now: float | None = None) -> LimitUsage:
    """Of the limits of `name` at `now`, seconds since the epoch; default: the server's time.

    Raises redis.exceptions.RedisError."""
    pipeline = client.pipeline(transaction=False)
    for key in redis_keys(name):
        pipeline.hgetall(key)
    pipeline.time()
    stored, owners, (seconds, micro) = pipeline.execute()
    now = seconds + micro / 1e6 if now is None else now
    state = {field: float(value) for field, value in stored.items()}
    faded = math.exp(-max(0.0, now - state.get("used_at", now)) / USE_SECONDS)
    rpm = state.get("rate") or lower_limit(quota.rpm, state.get("told_rpm", 0.0))
    tpm = lower_limit(quota.tpm, state.get("told_tpm", 0.0))
    heard = (said.split() for said in owners.values())
    flying = sum(int(calls) for calls, at in heard if now - float(at) <= OWNER_TTL)
    allowed = {REQUESTS: rpm, TOKENS: tpm, IN_FLIGHT: quota.max_concurrency}
    return LimitUsage(
        used={
            REQUESTS: state.get("requests_used", 0.0) * faded,
            TOKENS: state.get("tokens_used", 0.0) * faded,
            IN_FLIGHT: flying,
        },
        allowed={of: float(most) for of, most in allowed.items() if most},
        calls=int(state.get("calls", 0)),
        refused=int(state.get("refused", 0)),
        blocked=max(0.0, state.get("blocked_until", 0.0) - now),
        circuit_open=state.get("backoff", 0.0) > 0,
    )
