"""The occupancy of an engine over time, and the GPUs that it may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from models.core.types import Usage


@dataclass(frozen=True, slots=True)
class LoadReading:
    """A reading of the load. `running` of at most `capacity` sequences are in work, `waiting` are not yet.

    `busy_seconds` counts the time with any sequence; `sequence_seconds` is the integral of `running` over it.
    """

    capacity: int
    running: int
    waiting: int
    busy_seconds: float
    sequence_seconds: float
    usage: Usage

    @property
    def occupancy(self) -> float:
        """The mean share of the capacity in use during the busy time, 0 to 1."""
        return self.sequence_seconds / (self.capacity * self.busy_seconds) if self.busy_seconds else 0.0


@dataclass(frozen=True, slots=True)
class GpuReading:
    """A GPU that a process may use, by its number or UUID and its product name; memory is in bytes.

    `utilization` is the share of the last moment in which it computed, 0 to 1; None where the driver does not
    tell, as of a part of a GPU.
    """

    device: str
    name: str
    memory_used: int
    memory_total: int
    utilization: float | None


class Load:
    """Records every change of the load; `clock` is in seconds. Several threads may record in turn."""

    def __init__(self, capacity: int, clock: Callable[[], float]) -> None:
        self.capacity = capacity
        self._clock = clock
        self._since = clock()
        self._running = self._waiting = 0
        self._busy = self._sequences = 0.0
        self._usage = Usage()

    def record(self, running: int, waiting: int) -> None:
        """Set the numbers that hold from now on."""
        now = self._clock()
        if self._running or self._waiting:
            self._busy += now - self._since
            self._sequences += self._running * (now - self._since)
        self._since, self._running, self._waiting = now, running, waiting

    def answered(self, used: Usage) -> None:
        total = self._usage
        self._usage = Usage(
            total.prompt + used.prompt, total.cached + used.cached, total.completion + used.completion
        )

    def read(self) -> LoadReading:
        self.record(self._running, self._waiting)
        return LoadReading(
            self.capacity, self._running, self._waiting, self._busy, self._sequences, self._usage
        )
