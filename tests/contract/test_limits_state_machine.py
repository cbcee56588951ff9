"""Whatever owners do, both limiters answer alike, keep every limit, and let everyone through in the end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from storage.limits.limiter import HORIZON, OWNER_TTL, CallOutcome, CallReport, Decision, Quota
from storage.limits.redis_limiter import RedisLimiter, connect_redis
from tests.support.clock import Clock
from tests.support.limits import max_in_a_minute
from tests.support.memory_limiter import MemoryLimiter

OWNERS = st.integers(0, 2)
NEAR = 1e-5
limit = st.sampled_from
AnnouncedLimits = tuple[int | None, int | None]


@dataclass
class Call:
    start: float
    tokens: int
    probe: bool


class Machine(RuleBasedStateMachine):
    url: str

    def __init__(self) -> None:
        super().__init__()
        with redis.Redis.from_url(self.url) as client:
            client.flushall()
        self.clock = Clock()
        self.runner = asyncio.Runner()
        self.memory = MemoryLimiter(self.clock)
        self.redis = RedisLimiter(connect_redis(self.url), "model", self.clock)
        self.quota = Quota()
        self.names = ["0", "1", "2"]
        self.heard = [0.0] * 3
        self.calls: list[list[Call]] = [[], [], []]
        self.reports: list[list[CallReport]] = [[], [], []]
        self.dead: list[tuple[float, int]] = []  # last exchange and calls of the killed
        self.made: list[tuple[float, int]] = []
        self.refunds: list[tuple[float, int]] = []
        self.blocked_until = 0.0
        self.answered = 0.0

    def teardown(self) -> None:
        try:
            self.all_pass_in_the_end()
        finally:
            self.runner.run(self.redis.close())
            self.runner.close()

    @initialize(rpm=limit([None, 1, 60, 6000]), tpm=limit([None, 100, 10_000]), most=limit([None, 1, 3]))
    def say(self, rpm: int | None, tpm: int | None, most: int | None) -> None:
        self.quota = Quota(rpm, tpm, most)

    @rule(who=OWNERS, wants=st.lists(limit([0, 1, 30, 150]), max_size=4))
    def ask(self, who: int, wants: list[int]) -> None:
        granted = [answer.granted for answer in self.answers(who, wants)]
        assert granted == sorted(granted, reverse=True)
        if self.quota.max_concurrency and any(granted):
            assert self.living() <= self.quota.max_concurrency

    def answers(self, who: int, wants: list[int]) -> list[Decision]:
        now, reports = self.clock(), self.reports[who]
        answers = self.exchange(who, wants)
        self.reports[who] = []
        for report in reports:
            if report.retry_after:
                self.blocked_until = max(self.blocked_until, now + report.retry_after)
            if report.outcome in {CallOutcome.OK, CallOutcome.LIMITED}:
                self.answered = now
            self.refunds.append((now, max(0, -report.tokens)))
        for tokens, answer in zip(wants, answers, strict=True):
            if answer.granted:
                assert 0 <= answer.wait <= HORIZON
                assert now >= self.blocked_until
                self.calls[who].append(Call(now + answer.wait, tokens, answer.probe))
                self.made.append((now + answer.wait, tokens))
            else:
                assert answer.wait > 0
        return answers

    def exchange(self, who: int, wants: list[int]) -> list[Decision]:
        """Return the decisions of both limiters after asserting that they agree."""
        call = self.quota, self.names[who], len(self.calls[who]), self.reports[who], wants
        ours = self.runner.run(self.memory.exchange(*call))
        theirs = self.runner.run(self.redis.exchange(*call))
        assert [(a.granted, a.probe, a.full) for a in ours] == [(a.granted, a.probe, a.full) for a in theirs]
        assert [a.wait for a in ours] == pytest.approx([a.wait for a in theirs], abs=NEAR)
        self.heard[who] = self.clock()
        return ours

    def living(self) -> int:
        """Calls in flight of owners who were heard of lately, killed or not."""
        oldest = self.clock() - OWNER_TTL
        known = [(heard, len(calls)) for heard, calls in zip(self.heard, self.calls, strict=True)]
        return sum(count for heard, count in known + self.dead if heard >= oldest)

    @rule(
        who=OWNERS,
        outcome=limit([*CallOutcome, CallOutcome.OK, CallOutcome.FAILED]),
        used=limit([0, 0, -1, 20]),
        retry_after=limit([None, None, 0.5, 30.0]),
        limits=limit([(None, None), (None, None), (30, None), (None, 200)]),
    )
    def end(
        self, who: int, outcome: CallOutcome, used: int, retry_after: float | None, limits: AnnouncedLimits
    ) -> None:
        if not self.calls[who]:
            return
        call = self.calls[who].pop(0)
        if outcome == CallOutcome.UNSENT or used < 0:
            used = -call.tokens
        after = retry_after if outcome == CallOutcome.LIMITED else None
        self.reports[who].append(CallReport(outcome, used, after, *limits, probe=call.probe))

    @rule(who=OWNERS, tokens=limit([0, 1, 30, 60, 150]), count=st.integers(1, 12))
    def press(self, who: int, tokens: int, count: int) -> None:
        """One call after the other, each as soon as it may start."""
        for _ in range(count):
            [answer] = self.answers(who, [tokens])
            if answer.granted:
                self.clock.advance(answer.wait)
                self.reports[who].append(CallReport(CallOutcome.OK, probe=self.calls[who].pop().probe))
            else:
                self.clock.advance(answer.wait)

    @rule(who=OWNERS, seconds=limit([0.0, 0.5, 30.0]))
    def limited(self, who: int, seconds: float) -> None:
        self.reports[who].append(CallReport(CallOutcome.LIMITED, retry_after=seconds))

    @rule(who=OWNERS)
    def all_fail(self, who: int) -> None:
        """Calls of a time that the limiter has forgotten, say."""
        self.reports[who] += [CallReport(CallOutcome.FAILED)] * 10

    @rule(seconds=limit([0.001, 0.03, 0.2, 0.5, 1.0, 4.0, 11.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: any(self.calls))
    @rule(who=OWNERS)
    def kill(self, who: int) -> None:
        self.dead.append((self.heard[who], len(self.calls[who])))
        self.calls[who], self.reports[who] = [], []
        self.names[who] += "'"

    @invariant()
    def no_minute_holds_too_much(self) -> None:
        if self.quota.rpm:
            assert max_in_a_minute([(start, 1) for start, _ in sorted(self.made)]) <= self.quota.rpm
        if self.quota.tpm:
            # A call of more than a minute's tokens is alone; what was given back may be used again.
            fitting = sorted((start, min(tokens, self.quota.tpm)) for start, tokens in self.made)
            assert max_in_a_minute(fitting) <= self.quota.tpm + sum(tokens for _, tokens in self.refunds)

    @invariant()
    def one_probe_at_a_time(self) -> None:
        if self.memory.state.backoff:
            # One that went out before the last answer was of another outage.
            since = max(self.answered, self.clock() - 60)
            starts = [call.start for calls in self.calls for call in calls if call.probe]
            assert sum(start > since for start in starts) <= 1

    def all_pass_in_the_end(self) -> None:
        for who in range(3):
            self.calls[who] = []
            self.reports[who] = [CallReport(CallOutcome.OK)]
            self.answers(who, [])
        deadline = self.clock() + 3 * 3600
        for tokens in (0, 30, 150):
            while not (answer := self.answers(0, [tokens])[0]).granted:
                self.clock.advance(answer.wait)
                assert self.clock() < deadline
            self.calls[0] = []


def test_limiters_agree_and_keep_every_limit_under_random_events(redis_url: str) -> None:
    class Here(Machine):
        url = redis_url

    run_state_machine_as_test(Here, settings=settings(max_examples=60, stateful_step_count=40))
