"""The time that a run still takes: what is to come at each queue, by the speed of the queue so far."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from models.core.experiment.endpoints import Model
from models.core.pipeline.graph import Slot, Step
from models.core.pipeline.grid import prompted_cells
from models.core.pipeline.plan import rows_per_call
from producer.look_ahead.duration import parallel_calls
from storage.ledger.counts import IN_FLIGHT, Funnel, Spending
from storage.ledger.pace import EndedUnits
from storage.ledger.runs import Run
from storage.schema import DONE, FAILED, READY, SKIPPED, TEST, TRAIN, WAITING

# With fewer units in it, a window tells little about a queue.
ENOUGH = 5
# The share of a conditional step that is expected to be executed before any row came to it.
UNKNOWN_SHARE = 0.5
STILL_SECONDS = 10.0


class Pace(NamedTuple):
    """The units that ended between `since` and `now`."""

    ended: Sequence[EndedUnits]
    since: float
    now: float

    @property
    def number(self) -> int:
        return sum(each.number for each in self.ended)

    @property
    def last(self) -> float:
        return max((each.last for each in self.ended), default=self.since)

    @property
    def stands_still(self) -> bool:
        """True if nothing ended for much longer than between two ends before."""
        first = min((each.first for each in self.ended), default=self.since)
        interval = (self.last - first) / (self.number - 1) if self.number > 1 else 0.0
        return self.now - self.last > max(STILL_SECONDS, 3 * interval)

    def seconds(self, ended: Sequence[EndedUnits], *, idle: bool = False) -> float:
        """Return the time in which these ended. If they are enough, the start before the first is left out,
        and of a queue that is `idle` the time after the last."""
        if sum(each.number for each in ended) < ENOUGH:
            return max(1.0, self.now - self.since)
        until = max(each.last for each in ended) if idle else self.now
        return max(1.0, until - min(each.first for each in ended))


@dataclass(frozen=True, slots=True)
class _Work:
    """The calls to come at a queue: `now`, and `later` behind the barrier."""

    now: defaultdict[str, float]
    later: defaultdict[str, float]


def seconds_left(run: Run, funnel: Funnel, pace: Pace, spent: Mapping[str, Spending]) -> float | None:
    """Return the seconds until the last unit ends; None if nothing is known about a queue that is needed.

    `spent` are the calls of each stage. Queues work side by side, what is behind a barrier follows.
    """
    weights = _calls_per_unit(run, funnel, spent)
    work = _work(run, funnel, weights)
    busy = _busy_queues(run, funnel)
    speeds = {queue: _speed(pace, queue, weights, queue not in busy) for queue in work.now | work.later}
    expected = {queue: _expected_speed(run, queue, spent) for queue in speeds}
    seen = [min(1.0, speed / expected[queue]) for queue, speed in speeds.items() if speed and expected[queue]]
    # Servers that nobody has asked yet are used as well as the best of the others.
    used = max(seen, default=1.0)
    total = 0.0
    for calls in (work.now, work.later):
        seconds = 0.0
        for queue, number in calls.items():
            speed = speeds[queue] or used * expected[queue]
            if speed:
                seconds = max(seconds, number / speed)
            elif queue in {model.queue for model in run.experiment.asked}:
                return None
        total += seconds
    return max(total, _longest_chain(run, funnel, spent))


def _open(states: Counter[str]) -> int:
    return states[WAITING] + states[READY] + states[IN_FLIGHT]


def _calls_per_unit(run: Run, funnel: Funnel, spent: Mapping[str, Spending]) -> dict[str, float]:
    """Return the calls of a unit of each stage; 1 for those that ask no model."""
    shared = rows_per_call(run.experiment)
    weights = {}
    for stage in {stage for _, stage, _ in funnel.rows}:
        states = funnel.total(stage=stage)
        executed, calls = states[DONE] + states[FAILED], spent[stage].calls if stage in spent else 0
        weights[stage] = calls / executed if calls and executed else 1 / shared.get(stage, 1)
    return weights


def _work(run: Run, funnel: Funnel, weights: Mapping[str, float]) -> _Work:
    work = _Work(defaultdict(float), defaultdict(float))
    behind = _behind_barrier(run, funnel)
    for split, slots in run.slots.items():
        for slot in {(each.stage, each.variant): each for each in slots}.values():
            states = funnel.rows.get((split, slot.stage, slot.variant), Counter())
            calls = _open(states) * _executed_share(run, slot, states) * weights.get(slot.stage, 1.0)
            if calls:
                later = split == TEST and slot.variant in behind
                (work.later if later else work.now)[slot.queue] += calls
    return work


def _behind_barrier(run: Run, funnel: Funnel) -> set[str]:
    """Return the cells of the grid that wait until every train unit is final."""
    if run.experiment.steps or not _open(funnel.total(split=TRAIN)):
        return set()
    return {cell.name for cell in prompted_cells(run.experiment) if cell.shots}


def _executed_share(run: Run, slot: Slot, states: Counter[str]) -> float:
    """Return the share of units that are executed, not skipped, as far as it is seen."""
    executed = states[DONE] + states[FAILED]
    if executed + states[SKIPPED]:
        return executed / (executed + states[SKIPPED])
    step = run.experiment.steps.get(slot.stage)
    is_conditional = bool(step.when) if step else slot.stage == "rationalize"
    return UNKNOWN_SHARE if is_conditional else 1.0


def _busy_queues(run: Run, funnel: Funnel) -> set[str]:
    """Return the queues that have something to do now."""
    return {
        slot.queue
        for split, slots in run.slots.items()
        for slot in slots
        for states in [funnel.rows.get((split, slot.stage, slot.variant), Counter())]
        if states[READY] + states[IN_FLIGHT]
    }


def _speed(pace: Pace, queue: str, weights: Mapping[str, float], idle: bool) -> float:
    """Return the calls a second of a queue; 0 if too few of its units ended to tell."""
    ended = [each for each in pace.ended if each.queue == queue]
    if sum(each.number for each in ended) < ENOUGH:
        return 0.0
    return sum(each.number * weights.get(each.stage, 1.0) for each in ended) / pace.seconds(ended, idle=idle)


def _expected_speed(run: Run, queue: str, spent: Mapping[str, Spending]) -> float:
    """Return the calls a second that the limits of a queue's models allow; 0 before the first answer, since
    nobody knows if the server gives any."""
    calls, seconds = sum(each.calls for each in spent.values()), sum(each.seconds for each in spent.values())
    models = [model for model in run.experiment.asked if model.queue == queue and calls]
    speeds = [speed for model in models for speed in _limits(model, seconds / calls)]
    return min(speeds, default=0.0)


def _limits(model: Model, latency: float) -> Iterator[float]:
    if model.rpm and not model.runs_in_worker:
        yield model.rpm / 60
    if latency:
        yield parallel_calls(model) / latency


def _longest_chain(run: Run, funnel: Funnel, spent: Mapping[str, Spending]) -> float:
    """Return the seconds of the calls that the slowest row has still to make one after the other."""
    longest = 0.0
    for split, slots in run.slots.items():
        ends: dict[Step, float] = {}
        for slot in slots:
            is_open = _open(funnel.rows.get((split, slot.stage, slot.variant), Counter()))
            of_stage = spent.get(slot.stage)
            latency = of_stage.seconds / of_stage.calls if is_open and of_stage and of_stage.calls else 0.0
            ends[slot.step] = latency + max((ends.get(step, 0.0) for step in slot.after), default=0.0)
        longest = max([longest, *ends.values()])
    return longest
