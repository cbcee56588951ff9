"""A run in the words and bars of its page."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.core.pipeline.stages import STAGES
from producer.progress import text
from producer.progress.status import Status
from producer.serve.snapshots import RunSnapshot
from storage.ledger.counts import IN_FLIGHT, RunLine
from storage.schema import DONE, FAILED, FINAL, RUNNING, SKIPPED

HERE = Path(__file__).parent
# Drawn in this order; what is left of a bar has not begun.
DRAWN = (DONE, SKIPPED, FAILED, IN_FLIGHT)


@dataclass(frozen=True, slots=True)
class Bar:
    """Units of one row of a funnel. `parts` are (class, start, width) in percent."""

    name: str
    planned: int
    numbers: list[tuple[str, int]]
    parts: list[tuple[str, float, float]]
    share: float


def bar(name: str, states: Counter[str]) -> Bar:
    planned, parts, start = states.total(), [], 0.0
    for state in DRAWN:
        if states[state]:
            width = 100 * states[state] / planned
            parts.append((state, round(start, 3), round(width, 3)))
            start += width
    numbers = [(heading, states[state]) for heading, state in text.COLUMNS]
    return Bar(name, planned, numbers, parts, final_share(states))


def final_share(states: Counter[str]) -> float:
    return 100 * sum(states[state] for state in FINAL) / max(1, states.total())


def run_context(reading: RunSnapshot) -> dict[str, Any]:
    """What the page of a run shows."""
    status = reading.status
    funnel, budget = status.funnel, status.budget
    return {
        "line": reading.line,
        "status": status,
        "whole": bar("all units", status.units),
        "stages": [bar(stage, states) for stage in STAGES if (states := funnel.total(stage=stage)).total()],
        "variants": [bar(name, states) for name, states in funnel.variants("answer").items()],
        "eta": eta(status),
        "dollars": text.dollars(status),
        "budget_share": min(100.0, 100 * status.spending.cost_nano_usd / budget.limit)
        if budget.limit
        else None,
        "limits": [(limit, text.limit_parts(limit), limit.use.shares) for limit in status.limits],
        "engines": [engine for engine in status.engines if engine.alive],
        "counted": moment(reading.at, seconds=True),
        "took": f"{reading.seconds:.1f} s",
    }


def list_context(lines: list[RunLine], known: dict[str, RunSnapshot]) -> list[dict[str, Any]]:
    """What the page of all runs shows; of a run that was not counted yet, what its row says."""
    return [
        {"line": line, "found": found and found.status, "bar": found and bar("", found.status.units),
         "eta": found and eta(found.status), "dollars": found and text.dollars(found.status)}
        for line in lines
        for found in [known.get(line.id)]
    ]  # fmt: skip


def eta(status: Status) -> str:
    if status.eta is not None:
        return text.duration(status.eta)
    return "unknown" if status.left and status.state == RUNNING else "-"


def moment(at: float | None, seconds: bool = False) -> str:
    if at is None:
        return "-"
    return datetime.fromtimestamp(at, UTC).strftime(
        "%Y-%m-%d %H:%M:%S UTC" if seconds else "%Y-%m-%d %H:%M UTC"
    )


def render(name: str, **words: Any) -> str:
    return _templates().get_template(name).render(**words)


@cache
def _templates() -> Environment:
    # Everything is escaped: rows hold what models and users wrote.
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    found.filters["number"] = lambda value: f"{value:,.0f}"
    found.filters["moment"] = moment
    return found
