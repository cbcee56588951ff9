"""Runs share the workers of a queue evenly.

A queue and its workers may hold twice the units that workers hold now, so that a worker finds the next unit
at once and a new run waits no longer than that. Each run gets the same part of them; others take what a run
does not need. All is counted in the ledger, so that feeders that do not know each other compute the same
numbers.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from storage.database import Database
from storage.ledger import counts as ledger_counts

# A queue may hold this many units even if workers hold fewer: a new worker finds work at once.
MIN_UNITS = 64
REFRESH_SECONDS = 0.25


@dataclass(slots=True)
class _Counts:
    at: float = float("-inf")
    in_flight: dict[tuple[str, str], int] = field(default_factory=dict)
    shares: dict[str, tuple[int, int]] = field(default_factory=dict)


class Shares:
    """The shares of all running runs, for all feeders of a process. `clock`: as for a feeder."""

    def __init__(self, db: Database, clock: Callable[[], float] | None = None) -> None:
        self.db = db
        self.clock = clock or db.clock
        self._lock = threading.Lock()
        self._counts = _Counts()

    def rooms(self, run: str, waiting: Mapping[str, int]) -> dict[str, int]:
        """Return how many more units of the run may be sent, by queue, if so many of them are `waiting`."""
        with self._lock:
            now = self.clock()
            if now - self._counts.at >= REFRESH_SECONDS:
                self._counts = _Counts(now, ledger_counts.in_flight(self.db, now))
            counts = self._counts
            if unknown := waiting.keys() - counts.shares.keys():
                counts.shares |= self._share(sorted(unknown))
        rooms = {}
        for queue, number in waiting.items():
            share, runs = counts.shares[queue]
            # A few may always wait: else a run with few workers would never get more.
            room = max(share - counts.in_flight.get((queue, run), 0), MIN_UNITS // runs)
            rooms[queue] = room - number
        return rooms

    def _share(self, queues: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return the share of each run, and the number of runs that want one, by queue."""
        held = Counter[str]()
        for (queue, _), number in self._counts.in_flight.items():
            held[queue] += number
        totals = {queue: max(MIN_UNITS, 2 * held[queue]) for queue in queues}
        shares = {}
        for queue, by_run in ledger_counts.demand_by_run(self.db, totals).items():
            wanted = [number for number in by_run.values() if number]
            shares[queue] = even_share(totals[queue], wanted), max(1, len(wanted))
        return shares


def even_share(total: int, wanted: Iterable[int]) -> int:
    """Return the maximum for each of those that share `total`: max-min fairness."""
    left, demand = total, 0
    demands = sorted(wanted)
    for index, demand in enumerate(demands):
        if demand * (len(demands) - index) > left:
            return left // (len(demands) - index)
        left -= demand
    return demand + left
