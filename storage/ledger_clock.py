"""The one clock of all processes that use a ledger, whatever the clocks of their machines show."""

from __future__ import annotations

import time
from collections.abc import Callable

# A worker whose machine differs by more from the ledger refuses to start.
MAX_SKEW_SECONDS = 2.0
# Processes that live long ask the server so often: without NTP, clocks drift by seconds a day.
REREAD_SECONDS = 60.0


def steady_seconds() -> float:
    """Return seconds that only grow, whoever sets the clock of this machine; they count while it sleeps."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class LedgerClock:
    """Seconds since the epoch by the server's clock, which `ask` returns; without it, by this machine's.

    The server is asked at first and by `synchronize`. In between a steady clock counts on, so that setting
    the clock of this machine moves no lease.
    """

    def __init__(
        self,
        ask: Callable[[], float] | None = None,
        machine: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_seconds,
    ) -> None:
        self._ask, self._machine, self._steady = ask, machine, steady
        # The server's time less the steady clock's, and when it was read.
        self._offset: float | None = None
        self._read_at = 0.0

    def __call__(self) -> float:
        if self._ask is None:
            return self._machine()
        if self._offset is None:
            self.synchronize()
        return self._steady() + (self._offset or 0.0)

    @property
    def skew(self) -> float:
        """Return by how many seconds this machine's clock is ahead of the ledger's."""
        return self._machine() - self()

    def synchronize(self, older_than: float = 0.0) -> None:
        """Ask the server, unless that was done less than `older_than` seconds ago.

        The server read its clock while it was asked. So a known offset is kept unless that proves it wrong:
        an answer that took long moves no clock.
        """
        before = self._steady()
        known = self._offset
        if self._ask is None or (known is not None and before - self._read_at < older_than):
            return
        theirs = self._ask()
        after = self._steady()
        lowest, highest = theirs - after, theirs - before
        known = (lowest + highest) / 2 if known is None else known
        self._offset, self._read_at = min(max(known, lowest), highest), before
