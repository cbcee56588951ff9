"""The limiter of one process, in its memory: the twin of exchange.lua, line by line."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from storage.limits.limiter import (
    BURST,
    FAILURES,
    FIRST_PROBE,
    FLOOR,
    FULL_WAIT,
    GROWTH,
    GROWTH_TO_LIMIT,
    HEADROOM,
    HORIZON,
    LAST_PROBE,
    MEMORY,
    OWNER_TTL,
    PROBE_TTL,
    PROBE_WAIT,
    SAMPLE,
    SLACK,
    USE_SECONDS,
    WINDOW,
    CallOutcome,
    CallReport,
    Decision,
    Quota,
    lower_limit,
)


@dataclass(slots=True)
class State:
    """The fields are those of STATE in exchange.lua."""

    requests_due: float = 0.0
    tokens_due: float = 0.0
    tokens_last: float = 0.0
    blocked_until: float = 0.0
    told_rpm: float = 0.0
    told_tpm: float = 0.0
    rate: float = 0.0
    grown: float = 0.0
    seen: float = 0.0
    share: float = 0.0
    since: float = 0.0
    starts: float = 0.0
    ends: float = 0.0
    limited: float = 0.0
    requests_used: float = 0.0
    tokens_used: float = 0.0
    used_at: float = 0.0
    calls: float = 0.0
    refused: float = 0.0
    failures: float = 0.0
    backoff: float = 0.0
    probe_at: float = 0.0
    probe_until: float = 0.0


class MemoryLimiter:
    """Forgets nothing. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._owners: dict[str, tuple[int, float]] = {}
        self.state = State()

    async def exchange(
        self, quota: Quota, owner: str, in_flight: int, reports: Sequence[CallReport], wants: Sequence[int]
    ) -> list[Decision]:
        now = self._clock()
        correction = 0
        for report in reports:
            correction += report.tokens
            self.state.told_rpm = report.rpm or self.state.told_rpm
            self.state.told_tpm = report.tpm or self.state.told_tpm
            self._note(report, now)
        self._fade(correction, now)
        rpm = lower_limit(quota.rpm, self.state.told_rpm)
        tpm = lower_limit(quota.tpm, self.state.told_tpm)
        self._adapt(rpm, now)
        pace = self.state.rate or rpm
        if tpm and correction:
            moved = max(self.state.tokens_due, now) + 60 * correction / (tpm * HEADROOM)
            self.state.tokens_due = max(now, moved)
        others = self._others(owner, now)
        answers: list[Decision] = []
        for tokens in wants:
            room = not quota.max_concurrency or others + in_flight < quota.max_concurrency
            answer = self._refusal(room, now) or self._charge(pace, tpm, tokens, now)
            if not answer.granted:
                answers += [answer] * (len(wants) - len(answers))
                break
            answers.append(answer)
            in_flight += 1
        if in_flight:
            self._owners[owner] = in_flight, now
        else:
            self._owners.pop(owner, None)
        return answers

    async def close(self) -> None:
        pass

    def _note(self, report: CallReport, now: float) -> None:
        state = self.state
        if report.outcome == CallOutcome.OK:
            state.ends += 1
            self._close_circuit()
        elif report.outcome == CallOutcome.LIMITED:
            state.refused += 1
            if report.retry_after:
                state.blocked_until = max(state.blocked_until, now + report.retry_after)
            else:
                state.ends += 1
                state.limited += 1
            self._close_circuit()
        elif report.outcome == CallOutcome.UNSENT:
            if report.probe:
                state.probe_until = 0
        elif state.backoff:
            if report.probe:
                self._open_circuit(min(2 * state.backoff, LAST_PROBE), now)
        else:
            state.failures += 1
            if state.failures >= FAILURES:
                self._open_circuit(FIRST_PROBE, now)

    def _fade(self, correction: int, now: float) -> None:
        state = self.state
        faded = math.exp(-max(0.0, now - state.used_at) / USE_SECONDS)
        state.requests_used *= faded
        state.tokens_used = max(0.0, state.tokens_used * faded + correction)
        state.used_at = now

    def _close_circuit(self) -> None:
        self.state.failures = self.state.backoff = self.state.probe_until = 0

    def _open_circuit(self, backoff: float, now: float) -> None:
        self.state.backoff, self.state.probe_at, self.state.probe_until = backoff, now + backoff, 0

    def _adapt(self, rpm: float, now: float) -> None:
        state = self.state
        if state.rate:
            growth = GROWTH_TO_LIMIT * rpm if rpm else GROWTH * state.seen
            state.rate += growth * max(0.0, now - state.grown)
        state.grown = now
        elapsed = now - state.since
        if elapsed >= WINDOW:
            if state.since:
                accepted = 60 * (state.starts - state.limited) / elapsed
                state.seen = max(accepted, state.seen * MEMORY**elapsed)
            if state.ends:
                weight = min(1.0, state.ends / SAMPLE)
                state.share += weight * (state.limited / state.ends - state.share)
            if state.limited:
                self._cut(rpm)
            state.since, state.starts, state.ends, state.limited = now, 0, 0, 0
        if rpm and state.rate >= rpm:
            state.rate = 0

    def _cut(self, rpm: float) -> None:
        state = self.state
        if state.rate or rpm:
            state.rate = max(FLOOR, (state.rate or rpm) * (1 - state.share / 2))
        elif state.seen:
            # The first 429s of a limit that nobody told: what the server took is the best guess.
            state.rate, state.share = max(FLOOR, state.seen), 0

    def _others(self, owner: str, now: float) -> int:
        self._owners = {name: entry for name, entry in self._owners.items() if now - entry[1] <= OWNER_TTL}
        return sum(in_flight for name, (in_flight, _) in self._owners.items() if name != owner)

    def _refusal(self, room: bool, now: float) -> Decision | None:
        state = self.state
        if state.blocked_until > now:
            return Decision(False, state.blocked_until - now)
        if state.backoff and state.probe_at > now:
            return Decision(False, state.probe_at - now)
        if state.backoff and state.probe_until > now:
            return Decision(False, min(PROBE_WAIT, state.probe_until - now))
        return None if room else Decision(False, FULL_WAIT, full=True)

    def _charge(self, pace: float, tpm: float, tokens: int, now: float) -> Decision:
        state = self.state
        start, seconds, gap = now, 0.0, 0.0
        if pace:
            start = max(start, state.requests_due)
        if tpm:
            seconds, gap = cost(tokens, tpm)
            start = max(start, state.tokens_due, state.tokens_last + gap if gap else 0.0)
        if start - now > HORIZON:
            return Decision(False, start - now - HORIZON / 2)
        if pace:
            state.requests_due = max(state.requests_due, start - BURST) + 60 / (pace * HEADROOM)
        if tpm:
            state.tokens_due = max(state.tokens_due, start - BURST) + seconds
            state.tokens_last = start
        state.starts += 1
        state.calls += 1
        state.requests_used += 1
        state.tokens_used += tokens
        if state.backoff:
            state.probe_until = now + PROBE_TTL
        return Decision(True, start - now, probe=state.backoff > 0)


def cost(tokens: int, tpm: float) -> tuple[float, float]:
    """Seconds that `tokens` take, and the least time since the start before; exchange.lua says why."""
    part = tokens / tpm
    paced = 60 * part / HEADROOM
    if part <= 1 - HEADROOM - SLACK:
        return paced, 0.0
    gap = 60 / HEADROOM
    if part < 0.5:
        gap = min(gap, 60 * part / (1 - SLACK - part))
    return max(paced, gap), gap
