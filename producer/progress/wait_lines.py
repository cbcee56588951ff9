"""Lines on what a run waits for, and amounts and durations in words."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from models.core.display import usd
from models.core.experiment.experiment import Experiment
from storage.ledger.counts import IN_FLIGHT, Funnel
from storage.ledger.runs import Run
from storage.limits.troubles import Trouble
from storage.limits.usage import IN_FLIGHT as IN_FLIGHT_CALLS
from storage.limits.usage import REQUESTS, TOKENS, LimitUsage
from storage.schema import READY

# Their servers may ask for money; other backends run here, or replay what was bought.
PAID_BACKENDS = ("openai", "server")


def unpriced_models(experiment: Experiment) -> tuple[str, ...]:
    """Return the models whose servers may ask for money, and that have no `price`."""
    paid = (model for model in experiment.asked if model.backend in PAID_BACKENDS)
    return tuple(dict.fromkeys(model.name for model in paid if model.price.is_free))


def cost(nano_usd: int, unpriced: Sequence[str]) -> str:
    """Return dollars, or "unknown" if models without a price were asked."""
    if not unpriced:
        return usd(nano_usd)
    return f"{usd(nano_usd)} and unknown for {', '.join(unpriced)}" if nano_usd else "unknown"


def without_price(unpriced: Sequence[str]) -> str:
    return f"price unknown: set the price of {' and '.join(unpriced)}"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


LIMITS = {REQUESTS: "calls a minute", TOKENS: "tokens a minute"}
# A server that refuses a call now and then keeps nobody waiting for longer.
SHORT_SECONDS = 3.0
# A worker that was just started serves its queues within this time.
START_SECONDS = 10.0


def wait_lines(
    limits: Sequence[tuple[Sequence[str], LimitUsage]], unserved: Sequence[str], now: float
) -> tuple[str, ...]:
    """Return a line for each wait. `limits` are the names of models and the use of their limits."""
    lines = [f"no worker serves {queue}; start one: starmill worker {queue}" for queue in unserved]
    lines += [_limit_line(", ".join(names), use, now) for names, use in limits]
    return tuple(filter(None, lines))


def needed_queues(run: Run, funnel: Funnel, now: float) -> list[str]:
    """Return the queues whose units need a worker now. What waits for a batch needs none."""
    if now - run.started_at < START_SECONDS:
        return []
    in_batches = {model.queue for model in run.experiment.asked if model.delivery == "batch"}
    queues: dict[tuple[str, str, str], str] = {
        (split, slot.stage, slot.variant): slot.queue for split, slots in run.slots.items() for slot in slots
    }
    units: Counter[str] = Counter()
    for cell, states in funnel.rows.items():
        if queue := queues.get(cell):
            units[queue] += states[READY] + (0 if queue in in_batches else states[IN_FLIGHT])
    return sorted(queue for queue, number in units.items() if number)


def _limit_line(names: str, use: LimitUsage, now: float) -> str:
    """Return why calls of these models wait, or an empty text: the cause, where one wait has another."""
    trouble = use.trouble or Trouble()
    if use.blocked >= SHORT_SECONDS:
        until = clock_time(now + use.blocked)
        return f"calls of {names} are blocked for {duration(use.blocked)}, until {until} (Retry-After)"
    if trouble.failing and now - trouble.since >= SHORT_SECONDS:
        return (
            f"calls of {names} fail since {clock_time(trouble.since)}, {trouble.failing:,} to be made again: "
            f"{trouble.message}"
        )
    if use.circuit_open:
        return f"calls of {names} fail one after the other: single calls probe the server"
    if trouble.waiting and not _is_full(use):
        limit, until = _scarce_limit(use, now)
        first = duration(trouble.waited)
        return f"calls of {names} wait for {limit}: {trouble.waiting:,}, the first for {first}{until}"
    return ""


def _is_full(use: LimitUsage) -> bool:
    """Return whether calls wait for those in flight to end, as in any busy run."""
    return use.used.get(IN_FLIGHT_CALLS, 0) >= use.allowed.get(IN_FLIGHT_CALLS, float("inf"))


def _scarce_limit(use: LimitUsage, now: float) -> tuple[str, str]:
    """Return the limit that keeps calls waiting, and until when."""
    name = max(use.due, key=lambda each: use.due[each], default="")
    if name and use.due[name] > 0:
        until = clock_time(now + use.due[name])
        return f"its limit of {use.allowed[name]:,.0f} {LIMITS[name]}", f"; the next one starts at {until}"
    return "its limits", ""


def clock_time(at: float) -> str:
    """Return the local time, with the day if it is another one."""
    moment = datetime.fromtimestamp(at).astimezone()
    today = datetime.fromtimestamp(time.time()).astimezone().date()
    return f"{moment:%H:%M:%S}" if moment.date() == today else f"{moment:%Y-%m-%d %H:%M}"
