"""Runs share the workers of a queue evenly, however many units each has and whichever process feeds it.

In a queue and in workers' hands there may be twice as many units as workers hold now, so that they find
the next when they are done, and a run that comes waits no longer than that. Each run may have as many of
them as any other; what one does not need, the others have. All is counted in the ledger, so that feeders
that know nothing of each other come to the same numbers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from storage.database import Database
from storage.ledger import shares

# Units of a queue, also while workers hold fewer: a new one finds work at once.
LEAST = 64
REFRESH_SECONDS = 0.25


@dataclass(slots=True)
class _Counted:
    at: float = float("-inf")
    in_flight: dict[tuple[str, str], int] = field(default_factory=dict)
    shares: dict[str, tuple[int, int]] = field(default_factory=dict)


class Shares:
    """The shares of all running runs; one for any number of feeders in a process. `clock` gives seconds
    since the epoch."""

    def __init__(self, db: Database, clock: Callable[[], float] = time.time) -> None:
        self.db = db
        self.clock = clock
        self._lock = threading.Lock()
        self._counted = _Counted()

    def room(self, queue: str, run: str, waiting: int) -> int:
        """How many units more the run may have sent, if so many of its wait in the queue."""
        with self._lock:
            now = self.clock()
            if now - self._counted.at >= REFRESH_SECONDS:
                self._counted = _Counted(now, shares.in_flight(self.db, now))
            counted = self._counted
            if queue not in counted.shares:
                counted.shares[queue] = self._share(queue)
            share, runs = counted.shares[queue]
        # Some may wait whatever workers hold, or a run whose workers are few would never have more.
        return max(share - counted.in_flight.get((queue, run), 0), LEAST // runs) - waiting

    def _share(self, queue: str) -> tuple[int, int]:
        """Of each run; and how many runs there are that want one."""
        held = sum(number for (of, _), number in self._counted.in_flight.items() if of == queue)
        together = max(LEAST, 2 * held)
        wanted = [number for number in shares.demands(self.db, queue, together).values() if number]
        return even_share(together, wanted), max(1, len(wanted))


def even_share(together: int, wanted: Iterable[int]) -> int:
    """The most that each may have of `together`, where what some do not want is the others' (max-min
    fairness)."""
    left, most = together, 0
    demands = sorted(wanted)
    for number, most in enumerate(demands):
        if most * (len(demands) - number) > left:
            return left // (len(demands) - number)
        left -= most
    return most + left
