"""The line of a run in which nothing ends, where no limit, server or missing worker says why."""

from __future__ import annotations

from collections.abc import Sequence

from producer.progress.eta import Pace
from producer.progress.wait_lines import clock_time
from storage.ledger.counts import IN_FLIGHT, Funnel
from storage.ledger.runs import Run
from storage.limits.usage import IN_FLIGHT as IN_FLIGHT_CALLS
from storage.limits.usage import LimitUsage
from storage.schema import READY


def standstill_lines(
    run: Run, funnel: Funnel, pace: Pace, limits: Sequence[tuple[Sequence[str], LimitUsage]]
) -> tuple[str, ...]:
    """Return the lines on a run in which nothing ends: who has its units, and since when."""
    since = f"nothing has ended since {clock_time(pace.last)}"
    addresses = {model.name: model.base_url for model in run.experiment.asked if model.base_url}
    lines = []
    for names, use in limits:
        if calls := use.used.get(IN_FLIGHT_CALLS, 0):
            at = ", ".join(dict.fromkeys(addresses[name] for name in names if name in addresses))
            model = f"{', '.join(names)}{f' ({at})' if at else ''}"
            lines.append(f"{since}: {calls:,.0f} calls of {model} have no answer yet")
    if lines:
        return tuple(lines)
    units = funnel.total()
    return (f"{since}: {units[IN_FLIGHT]:,} units are in workers' hands, {units[READY]:,} are ready",)
