"""The load of an engine: its occupancy over time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from models.core.types import Usage


@dataclass(frozen=True, slots=True)
class LoadReading:
    """`running` of at most `capacity` sequences are being answered, `waiting` are not yet. `busy_seconds` is
    how long there was anything to do; `sequence_seconds` is the integral of `running` over that time."""

    capacity: int
    running: int
    waiting: int
    busy_seconds: float
    sequence_seconds: float
    usage: Usage

    @property
    def occupancy(self) -> float:
        """Mean share of the capacity in use while there was anything to do, 0 to 1."""
        return self.sequence_seconds / (self.capacity * self.busy_seconds) if self.busy_seconds else 0.0


class Load:
    """Told of every change; `clock` is in seconds. May be told from several threads in turn."""

    def __init__(self, capacity: int, clock: Callable[[], float]) -> None:
        self.capacity = capacity
        self._clock = clock
        self._since = clock()
        self._running = self._waiting = 0
        self._busy = self._sequences = 0.0
        self._usage = Usage()

    def record(self, running: int, waiting: int) -> None:
        """From now on `running` and `waiting` hold."""
        now = self._clock()
        if self._running or self._waiting:
            self._busy += now - self._since
            self._sequences += self._running * (now - self._since)
        self._since, self._running, self._waiting = now, running, waiting

    def answered(self, used: Usage) -> None:
        had = self._usage
        self._usage = Usage(
            had.prompt + used.prompt, had.cached + used.cached, had.completion + used.completion
        )

    def read(self) -> LoadReading:
        self.record(self._running, self._waiting)
        return LoadReading(
            self.capacity, self._running, self._waiting, self._busy, self._sequences, self._usage
        )
