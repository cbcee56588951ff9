"""Owners, calls and servers for the tests of limiters, in a time of their own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from storage.limits.limiter import CallOutcome, CallReport, Decision, Limiter, Quota
from storage.limits.redis_limiter import RedisLimiter, connect_redis
from tests.support.clock import Clock
from tests.support.memory_limiter import MemoryLimiter

OK = CallReport(CallOutcome.OK)
FAILED = CallReport(CallOutcome.FAILED)
LIMITED = CallReport(CallOutcome.LIMITED)


class Limits:
    """A limiter without the waiting: every call returns at once, time passes by `clock`."""

    def __init__(self, limiter: Limiter, clock: Clock, run: Callable[..., list[Decision]]) -> None:
        self.limiter = limiter
        self.clock = clock
        self._run = run

    def ask(
        self,
        *wants: int,
        reports: Sequence[CallReport] = (),
        owner: str = "owner",
        in_flight: int = 0,
        rpm: int | None = None,
        tpm: int | None = None,
        most: int | None = None,
    ) -> list[Decision]:
        """`wants` are tokens; `in_flight` does not count the reported ones."""
        return self._run(self.limiter.exchange(Quota(rpm, tpm, most), owner, in_flight, reports, wants))

    def granted(self, *wants: int, **asked: object) -> int:
        return sum(answer.granted for answer in self.ask(*wants, **asked))  # type: ignore[arg-type]

    def starts(self, seconds: float, tokens: Callable[[], int], **quota: int) -> list[tuple[float, int]]:
        """(start, tokens) of all calls that a greedy owner may start, as if each ended at once."""
        begin, made, want = self.clock(), [], tokens()
        while self.clock() < begin + seconds:
            [answer] = self.ask(want, **quota)  # type: ignore[arg-type]
            if answer.granted:
                made.append((self.clock() + answer.wait, want))
                want = tokens()
            else:
                self.clock.advance(answer.wait)
        return made


@contextmanager
def limits(url: str | None, clock: Clock) -> Iterator[Limits]:
    """Open the limiter in the Redis at `url`, or in memory."""
    with asyncio.Runner() as runner:
        limiter = MemoryLimiter(clock) if url is None else RedisLimiter(connect_redis(url), "model", clock)
        try:
            yield Limits(limiter, clock, runner.run)
        finally:
            runner.run(limiter.close())


def max_in_a_minute(made: Sequence[tuple[float, int]]) -> int:
    """The most that any 60 s hold of (time, amount)."""
    most = held = first = 0
    for when, amount in sorted(made):
        held += amount
        while made[first][0] <= when - 60:
            held -= made[first][1]
            first += 1
        most = max(most, held)
    return most


def play(
    limits: Limits, seconds: float, serve: Callable[[float], CallOutcome], calls: int = 64, **quota: int
) -> list[tuple[float, CallOutcome]]:
    """(start, outcome) of the calls that an owner makes who always wants `calls` in flight. What is
    answered takes 0.2 s, what is refused no time."""
    ends: list[tuple[float, CallOutcome]] = []
    made: list[tuple[float, CallOutcome]] = []
    begin = limits.clock()
    while limits.clock() < begin + seconds:
        now = limits.clock.advance(0.1)
        reports = [CallReport(outcome) for when, outcome in ends if when <= now]
        ends = [(when, outcome) for when, outcome in ends if when > now]
        answers = limits.ask(*[0] * (calls - len(ends)), reports=reports, in_flight=len(ends), **quota)  # type: ignore[arg-type]
        for answer in answers:
            if answer.granted:
                start = now + answer.wait
                outcome = serve(start)
                made.append((start, outcome))
                ends.append((start + (0.2 if outcome == CallOutcome.OK else 0), outcome))
    return made


def now_and_then(share: float, outcome: CallOutcome, seed: int = 7) -> Callable[[float], CallOutcome]:
    """A server that does this to a share of all calls, and answers the others."""
    chance = random.Random(seed)
    return lambda _: outcome if chance.random() < share else CallOutcome.OK
