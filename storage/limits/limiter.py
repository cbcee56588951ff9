"""The interface of a limiter, its constants, and its keys in Redis.

A limiter serves one name: a model at a provider. Owners, which are worker processes, report how calls ended
and ask to start others. Times are in seconds, rates a minute.
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
OWNER_TTL = 10.0  # an owner that is silent for longer is dead, and so are its calls
FULL_WAIT = 0.025  # until the next try when too many calls are in flight
FAILURES = 10  # in a row: the circuit opens
FIRST_PROBE = 0.5  # until the first probe of an open circuit; doubles
LAST_PROBE = 5.0
PROBE_TTL = 60.0  # a probe without a report for longer is lost
PROBE_WAIT = 0.25  # until the next try while a probe is out
WINDOW = 1.0  # between two cuts of the rate
SAMPLE = 20  # answers over which the share of 429s is smoothed if a window has fewer
GROWTH_TO_LIMIT = 0.03  # of the known limit, a second
GROWTH = 0.01  # of the accepted rate, a second, if no limit is known
MEMORY = 0.99  # share of the accepted rate that is remembered after a second
FLOOR = 6.0  # lowest rate a minute that 429s cut to
USE_SECONDS = 60.0  # over which usage is measured; recent calls count more
STATE_TTL = 3600  # a limit that is unused for longer is forgotten


class CallOutcome(StrEnum):
    """The end of a call: answered, 429, not answered (5xx, refused connection, timeout), never made."""

    OK = "ok"
    LIMITED = "limited"
    FAILED = "failed"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True)
class Quota:
    """The limits that the experiment sets; None is not set."""

    rpm: int | None = None
    tpm: int | None = None
    max_concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class CallReport:
    """A call that ended. `tokens` is what it used minus what was charged; `retry_after` comes from a 429,
    `rpm` and `tpm` from the headers x-ratelimit-limit-requests and -tokens, `probe` from the Decision."""

    outcome: CallOutcome
    tokens: int = 0
    retry_after: float | None = None
    rpm: int | None = None
    tpm: int | None = None
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """A granted call is charged and may start in `wait` seconds, HORIZON at most.

    A refused call is not charged: ask again in `wait` seconds or, if it is `full`, when a call has ended. A
    call that is a `probe` decides whether the circuit stays open.
    """

    granted: bool
    wait: float
    probe: bool = False
    full: bool = False


class Limiter(Protocol):
    async def exchange(
        self, quota: Quota, owner: str, in_flight: int, reports: Sequence[CallReport], wants: Sequence[int]
    ) -> list[Decision]:
        """Apply the reports, note the calls in flight and decide on each of `wants`, in one atomic step.

        `owner` has `in_flight` calls without the reported ones; `wants` are the tokens of calls to start. All
        calls after a refused one are refused too. A granted call may start up to HORIZON after a 429 has
        blocked the name. Raise redis.exceptions.RedisError if Redis fails; the step may have been done.
        """
        ...

    async def close(self) -> None: ...


def redis_keys(name: str) -> list[str]:
    """Return the keys of the state and of the owners, described in exchange.lua."""
    return [f"starmill:limit:{{{name}}}:state", f"starmill:limit:{{{name}}}:owners"]


def lower_limit(own: int | None, server: float) -> float:
    """Return the lower of two limits; 0 means no limit."""
    return min(own, server) if own and server else own or server
