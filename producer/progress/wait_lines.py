"""Lines on what a run waits for, and amounts and durations in words."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from models.core.display import usd
from models.core.experiment.endpoints import Student, Teacher
from models.core.experiment.experiment import Experiment
from storage.ledger.counts import IN_FLIGHT, Funnel
from storage.ledger.runs import Run
from storage.limits.usage import LimitUsage
from storage.schema import READY

# Their servers may ask for money; other backends run here, or replay what was bought.
PAID_BACKENDS = ("openai", "server")


def unpriced_models(experiment: Experiment) -> tuple[str, ...]:
    """Return the models whose servers may ask for money, and that have no `price`."""
    endpoints: list[Teacher | Student] = [experiment.teacher, *experiment.students]
    if experiment.asks_judge and experiment.judge.model:
        endpoints.append(experiment.judge.model)
    return tuple(
        dict.fromkeys(each.name for each in endpoints if each.backend in PAID_BACKENDS and each.price.is_free)
    )


def cost(nano_usd: int, unpriced: Sequence[str]) -> str:
    """Return dollars, or "unknown" if models without a price were asked."""
    if not unpriced:
        return usd(nano_usd)
    return f"{usd(nano_usd)} and unknown for {', '.join(unpriced)}" if nano_usd else "unknown"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


# A worker that was just started serves its queues within this time.
START_SECONDS = 10.0


def wait_lines(
    limits: Sequence[tuple[Sequence[str], LimitUsage]], unserved: Sequence[str], now: float
) -> tuple[str, ...]:
    """Return a line for each wait. `limits` are the names of models and the use of their limits."""
    lines = [
        f"no worker serves {queue}; start one: celery -A worker worker -Q {queue} -P threads -c 24"
        for queue in unserved
    ]
    for names, use in limits:
        lines += _limit_lines(", ".join(names), use, now)
    return tuple(lines)


def idle_queues(run: Run, funnel: Funnel, now: float) -> list[str]:
    """Return the queues whose units are ready while none of them is in a worker's hands."""
    if now - run.started_at < START_SECONDS:
        return []
    queues: dict[tuple[str, str, str], str] = {
        (split, slot.stage, slot.variant): slot.queue for split, slots in run.slots.items() for slot in slots
    }
    ready: Counter[str] = Counter()
    busy: Counter[str] = Counter()
    for cell, states in funnel.rows.items():
        if queue := queues.get(cell):
            ready[queue] += states[READY]
            busy[queue] += states[IN_FLIGHT]
    return sorted(queue for queue, number in ready.items() if number and not busy[queue])


def _limit_lines(names: str, use: LimitUsage, now: float) -> Iterator[str]:
    trouble = use.trouble
    if use.blocked:
        until = _clock(now + use.blocked)
        yield f"calls of {names} are blocked for {duration(use.blocked)}, until {until} (Retry-After)"
    elif trouble and trouble.waiting:
        first = duration(trouble.waited)
        yield f"calls of {names} wait for its limits: {trouble.waiting:,}, the first for {first}"
    if trouble and trouble.failing:
        yield (
            f"calls of {names} fail since {_clock(trouble.since)}, {trouble.failing:,} to be made again: "
            f"{trouble.message}"
        )
    if use.circuit_open:
        yield f"calls of {names} fail one after the other: single calls probe the server"


def _clock(at: float) -> str:
    """Return the local time, with the day if it is another one."""
    moment = datetime.fromtimestamp(at).astimezone()
    today = datetime.fromtimestamp(time.time()).astimezone().date()
    return f"{moment:%H:%M:%S}" if moment.date() == today else f"{moment:%Y-%m-%d %H:%M}"
