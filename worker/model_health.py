"""The health of a model as one process sees it: its last answer, the calls that fail, and their bounds.

    429                                 asked again as limits allow; 50 times while others succeed
    5xx, broken connection, broken off  asked again with backoff; 5 times while others succeed
    no answer in time                   asked 3 times, since each may be billed
    refused without a reason            asked again twice
    no call succeeds at all             waits, up to six hours; then the run pauses

The last line counts for a model, the others for one request.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from models.core import errors
from storage.limits.troubles import Trouble

log = logging.getLogger(__name__)
MAX_STRIKES = 5
# A call may lose against the others many times before it gets its share of a low limit.
MAX_LIMITED = 50
MAX_TIMEOUTS = 3
MAX_OUTAGE_SECONDS = 6 * 3600.0
# A call that is the last of its model tells nothing about the server; it is given up after this time.
MAX_LONE_SECONDS = 30.0
MAX_RETRY_AFTER = 600.0
MAX_WAIT_SECONDS = 30.0
FIRST_WAIT_SECONDS = 0.5
LOG_SECONDS = 60.0
MAX_MESSAGE = 300


class ModelHealth:
    """`name` appears in the log. Times are the loop's; `failing_since` is in seconds since the epoch."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answered_at = float("-inf")
        self.open_calls = 0
        self._failing: dict[CallFailures, float] = {}
        self._message = ""
        self._logged_at: dict[str, float] = {}

    @contextmanager
    def watch(self) -> Iterator[CallFailures]:
        """Count a call as open until it has an answer or is given up."""
        failures = CallFailures(self)
        self.open_calls += 1
        try:
            yield failures
        finally:
            self.open_calls -= 1
            self._failing.pop(failures, None)

    def answered(self) -> None:
        self.answered_at = asyncio.get_running_loop().time()

    def failed(self, failures: CallFailures, error: errors.ModelError) -> None:
        """Note that a call fails and will be made again. Log one line a minute for each kind."""
        self._failing.setdefault(failures, time.time())
        self._message = "".join(char if char.isprintable() else " " for char in str(error))[:MAX_MESSAGE]
        # Messages may hold numbers of requests; a status is one of a few.
        status = re.search(r"status \d{3}", self._message)
        kind, now = status[0] if status else type(error).__name__, asyncio.get_running_loop().time()
        if now - self._logged_at.get(kind, float("-inf")) >= LOG_SECONDS:
            self._logged_at[kind] = now
            log.warning("%s: %s; asked again", self.name, self._message)

    def trouble(self, waiting: int, waited: float) -> Trouble | None:
        """Describe the calls that fail or have waited long for a limit; None if there are none."""
        since = min(self._failing.values(), default=0.0)
        if not since and not waiting:
            return None
        return Trouble(self._message if since else "", len(self._failing), since, waiting, waited)


@dataclass(eq=False, slots=True)
class CallFailures:
    """The failures of one call, which bound how often it is made. `began` is the loop's time of the first."""

    health: ModelHealth
    began: float | None = None
    number: int = 0
    strikes: int = 0
    limited: int = 0
    timeouts: int = 0
    strays: int = 0

    def next_wait(self, error: errors.ModelError) -> float:
        """Count a failure. Return the seconds until the next try; raise `error`, ServerError or ServiceError
        if there is none."""
        now = asyncio.get_running_loop().time()
        began = self.began = now if self.began is None else self.began
        self.number += 1
        self.health.failed(self, error)
        if isinstance(error, errors.StrayRefusal):
            self.strays += 1
            if self.strays > error.MAX_RETRIES:
                raise error
        elif isinstance(error, errors.TimedOut):
            self.timeouts += 1
            if self.timeouts >= MAX_TIMEOUTS:
                raise errors.ServerError(str(error))
        elif self.health.answered_at > began or self._is_given_up_alone(now - began):
            self._strike(error)
        elif now - began > MAX_OUTAGE_SECONDS:
            raise errors.ServiceError(f"no call was answered for {MAX_OUTAGE_SECONDS / 3600:.0f} h: {error}")
        return self._wait(error)

    def _strike(self, error: errors.ModelError) -> None:
        if isinstance(error, errors.RateLimited):
            self.limited += 1
        else:
            self.strikes += 1
        if self.strikes >= MAX_STRIKES or self.limited >= MAX_LIMITED:
            raise errors.ServerError(str(error))

    def _is_given_up_alone(self, seconds: float) -> bool:
        return self.health.open_calls == 1 and seconds > MAX_LONE_SECONDS

    def _wait(self, error: errors.ModelError) -> float:
        """Return 0 after a rate limit, because admission knows when to call again; else what the server says,
        or a random time whose bound doubles up to MAX_WAIT_SECONDS."""
        if isinstance(error, errors.RateLimited):
            return 0.0
        backoff = random.uniform(0, min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(self.number, 10)))
        return max(backoff, getattr(error, "retry_after", None) or 0.0)
