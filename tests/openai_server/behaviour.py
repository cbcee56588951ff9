"""Settings of the test server, from the command line and while it runs."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field, fields
from typing import Any

KINDS = ("null", "empty", "html", "truncated", "refusal")


def _setting(default: Any, says: str) -> Any:
    return field(default=default, metadata={"help": says})


@dataclass(frozen=True)
class Behaviour:
    """Shares are of all calls, from 0 to 1. Chance is a hash of the call and its attempt: runs repeat."""

    latency_ms: float = _setting(0.0, "time before an answer starts")
    jitter: float = _setting(0.0, "share of the latency by which a call may be slower or faster")
    slow_body_ms: float = _setting(0.0, "time that the body of an answer takes, in ten pieces")
    p429: float = _setting(0.0, "share of calls answered with 429")
    retry_after: str = _setting("", "Retry-After of these, in seconds or as an HTTP date; none if empty")
    p500: float = _setting(0.0, "share of calls answered with 500")
    pdrop: float = _setting(0.0, "share of calls whose connection is closed without an answer")
    malformed: float = _setting(0.0, "share of answers that are malformed")
    kinds: str = _setting(",".join(KINDS), "kinds of malformed answers, all equally likely")
    outage_after_s: float = _setting(0.0, "time until an outage starts")
    outage_s: float = _setting(0.0, "length of the outage: every call gets 503")
    rpm: int = _setting(0, "requests a minute, a second's worth at once; 429 beyond; 0 is no limit")
    tpm: int = _setting(0, "tokens a minute, prompt and max_tokens together; 0 is no limit")
    limit_headers: bool = _setting(True, "whether rpm and tpm are told in headers")
    max_context: int = _setting(0, "tokens (words) of the longest prompt; 0 is no limit")
    batch_latency_ms: float = _setting(0.0, "time until a batch has ended")
    batch_expire: float = _setting(0.0, "share of a batch's calls that are left undone when it expires")
    batch_fail: float = _setting(0.0, "share of a batch's calls that end in an error of the server")
    batch_tokens: int = _setting(0, "tokens (words) that may wait in batches at a time; 0 is no limit")
    schemas: bool = _setting(True, "whether response_format is taken, and not refused")
    model: str = _setting("", "the one model that there is; any if empty")
    key: str = _setting("", "the key to ask for; none if empty")
    seed: int = _setting(0, "another seed makes other choices")

    @classmethod
    def types(cls) -> dict[str, type]:
        return {each.name: type(each.default) for each in fields(cls)}

    @classmethod
    def help(cls, name: str) -> str:
        return next(str(each.metadata["help"]) for each in fields(cls) if each.name == name)

    def chance(self, what: str, call: str, attempt: int) -> float:
        """From 0 up to 1, the same for the same arguments."""
        text = f"{self.seed}:{what}:{call}:{attempt}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64

    def latency(self, call: str, attempt: int) -> float:
        """Seconds."""
        stretch = 1 + self.jitter * (2 * self.chance("latency", call, attempt) - 1)
        return self.latency_ms * stretch / 1000

    def malformation(self, call: str, attempt: int) -> str | None:
        chance = self.chance("malformed", call, attempt)
        kinds = self.kinds.split(",")
        return kinds[int(chance / self.malformed * len(kinds))] if chance < self.malformed else None


@dataclass
class Meter:
    """A limit of `per_minute`, which lets one second's worth pass at once. Times are in seconds."""

    per_minute: int
    due: float = 0.0

    def charge(self, cost: float, now: float) -> float:
        """0 if `cost` was taken, else how long to wait before it can be."""
        if not self.per_minute:
            return 0.0
        wait = self.due - now - 1.0
        if wait > 0:
            return wait
        self.due = max(self.due, now) + cost * 60 / self.per_minute
        return 0.0


@dataclass
class Window:
    """The most events in any span of `seconds` so far. Times are in seconds and never go back."""

    seconds: float = 60.0
    most: int = 0
    _times: deque[float] = field(default_factory=deque)

    def count(self, now: float) -> None:
        self._times.append(now)
        while self._times[0] <= now - self.seconds:
            self._times.popleft()
        self.most = max(self.most, len(self._times))
