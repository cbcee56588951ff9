"""The load that Starmill and the plain loop both get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.core.types import Message
from tests.support.task_folders import augmentation_pairs, wording


@dataclass(frozen=True)
class Load:
    """`calls` of `latency_ms`, `concurrency` at once in all. `server` are its other settings, `teacher` and
    `sections` those of the experiment. `threads` are those of each of the `workers`; some more than calls
    at once, so that a call starts while another is being committed. `visibility_seconds` replaces the
    broker's."""

    calls: int
    concurrency: int = 64
    latency_ms: float = 200.0
    server: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] = field(default_factory=dict)
    sections: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 1
    threads: int = 24
    visibility_seconds: int | None = None

    @property
    def ideal(self) -> float:
        """Seconds that the calls take where nothing else takes any and none fails."""
        by_latency = self.latency_ms / 1000 * max(1.0, self.calls / self.concurrency)
        rpm = self.server.get("rpm")
        return max(by_latency, self.calls * 60 / rpm) if rpm else by_latency

    @property
    def patience(self) -> float:
        """Seconds after which a measurement counts as failed."""
        return 180 + 4 * self.ideal

    @property
    def behaviour(self) -> dict[str, Any]:
        return {"latency_ms": self.latency_ms, **self.server}


def request_of(number: int, word: str = "table") -> str:
    """Another `word` makes other requests, of the same length."""
    return f"sort the values of {word} {number} by their second column"


def messages_of(request: str) -> Sequence[Message]:
    """Return the messages that Starmill's teacher gets for an augmentation; the plain loop sends the same."""
    return wording().augmentation(request, augmentation_pairs())
