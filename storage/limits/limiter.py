"""What every limiter offers, and the numbers that both implementations obey.

A limiter serves one name: a model at a provider. Owners (worker processes) exchange with it: they tell
how calls ended and ask whether others may start. Times are in seconds, rates a minute.

Where a limit stands in Redis; known without its client, which takes long to load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

HEADROOM = 0.985  # share of a limit that is used: calls arrive a few ms early or late
SLACK = 0.005  # share of the tokens a minute that stays free around calls of more than a hundredth of it
BURST = 0.1  # how much unused time may be made up for at once
HORIZON = 0.25  # how far ahead a start is reserved
OWNER_TTL = 10.0  # an owner that was silent for longer is dead, and so are its calls
FULL_WAIT = 0.025  # until asking again for a place among the calls in flight
FAILURES = 10  # in a row: the circuit opens
FIRST_PROBE = 0.5  # until the first probe of an open circuit; doubles
LAST_PROBE = 5.0
PROBE_TTL = 60.0  # a probe of which nothing was heard for longer is lost
PROBE_WAIT = 0.25  # until asking again while a probe is out
WINDOW = 1.0  # between two cuts of the rate
SAMPLE = 20  # answers over which the share of 429s is smoothed where a window saw fewer
GROWTH_TO_LIMIT = 0.03  # of the known limit, a second
GROWTH = 0.01  # of what the server took, a second, where no limit is known
MEMORY = 0.99  # share of that rate that is remembered after a second
FLOOR = 6.0  # least rate a minute that 429s cut to
USE_SECONDS = 60.0  # over which the use of the limits is told, recent calls counting more
STATE_TTL = 3600  # what nobody used for longer is forgotten


class CallOutcome(StrEnum):
    """How a call ended: answered, 429, not answered (5xx, refused connection, timeout), never made."""

    OK = "ok"
    LIMITED = "limited"
    FAILED = "failed"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True)
class Quota:
    """What the experiment says; None is not said."""

    rpm: int | None = None
    tpm: int | None = None
    max_concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class CallReport:
    """A call that ended. `tokens` is what it used less what was charged; `retry_after` is what a 429
    said, `rpm` and `tpm` what its headers told (x-ratelimit-limit-requests, -tokens). `probe` is set
    where the Answer had it."""

    outcome: CallOutcome
    tokens: int = 0
    retry_after: float | None = None
    rpm: int | None = None
    tpm: int | None = None
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Granted: the call is charged and may start in `wait` seconds, HORIZON at most. Refused: nothing is
    charged; ask again in `wait` seconds, or, where it is `full`, as soon as a call has ended. The call
    that is a `probe` decides whether the circuit stays open."""

    granted: bool
    wait: float
    probe: bool = False
    full: bool = False


class Limiter(Protocol):
    async def exchange(
        self, quota: Quota, owner: str, in_flight: int, reports: Sequence[CallReport], wants: Sequence[int]
    ) -> list[Decision]:
        """One atomic step: applies the reports, notes that `owner` now has `in_flight` calls (those
        reported no longer count), then answers each of `wants`, the tokens of a call that would start.

        First come, first served: what follows a refused call is refused too. A call that starts on a
        reservation may do so up to HORIZON after a 429 has blocked the name.
        Raises redis.exceptions.RedisError where the limiter cannot be reached; it may then have been done.
        """
        ...

    async def close(self) -> None: ...


def redis_keys(name: str) -> list[str]:
    """Of the state and of the owners, as exchange.lua tells them."""
    return [f"starmill:limit:{{{name}}}:state", f"starmill:limit:{{{name}}}:owners"]


def lower_limit(own: int | None, server: float) -> float:
    """Return the lower of two limits; 0 means no limit."""
    return min(own, server) if own and server else own or server
