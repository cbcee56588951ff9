"""The values that the templates of the run page show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.core.display import visible
from producer.progress import text
from producer.progress.status import Status
from producer.progress.wait_lines import duration
from producer.serve.snapshots import RunSnapshot
from storage.ledger.counts import IN_FLIGHT, RunSummary
from storage.schema import DONE, FAILED, FINAL, RUNNING, SKIPPED

HERE = Path(__file__).parent
# The parts of a bar, in this order; the rest of it has not begun.
DRAWN = (DONE, SKIPPED, FAILED, IN_FLIGHT)


@dataclass(frozen=True, slots=True)
class Bar:
    """The units of one row of a funnel. `parts` are (class, start, width) in percent."""

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


def run_context(snapshot: RunSnapshot) -> dict[str, Any]:
    """Return the values of the page of a run."""
    status = snapshot.status
    budget = status.budget
    return {
        "run": snapshot.run,
        "status": status,
        "whole": bar("all units", status.units),
        "stages": [bar(status.label(stage), states) for stage, states in status.stages.items()],
        "variants": [bar(name, states) for name, states in status.variants.items()],
        "eta": eta(status),
        "dollars": text.dollars(status),
        "budget_share": min(100.0, 100 * status.spending.cost_nano_usd / budget.limit)
        if budget.limit
        else None,
        "waits": status.waits,
        "limits": [(limit, text.limit_parts(limit), limit.use.shares) for limit in status.limits],
        "newest": snapshot.newest,
        "engines": [engine for engine in status.engines if engine.alive],
        "gpus": [(worker, gpu) for worker, gpus in status.gpus.items() for gpu in gpus],
        "counted": moment(snapshot.at, seconds=True),
        "took": f"{snapshot.seconds:.1f} s",
    }


def list_context(runs: list[RunSummary], known: dict[str, RunSnapshot]) -> list[dict[str, Any]]:
    """Return the values of the list of runs. Runs without a snapshot show only their row of the ledger."""
    return [
        {"run": run, "status": status, "bar": status and bar("", status.units),
         "eta": status and eta(status), "dollars": status and text.dollars(status)}
        for run in runs
        for status in [known[run.id].status if run.id in known else None]
    ]  # fmt: skip


def eta(status: Status) -> str:
    if status.eta is not None:
        return duration(status.eta)
    return "unknown" if status.left and status.state == RUNNING else "-"


def moment(at: float | None, seconds: bool = False) -> str:
    if at is None:
        return "-"
    return datetime.fromtimestamp(at, UTC).strftime(
        "%Y-%m-%d %H:%M:%S UTC" if seconds else "%Y-%m-%d %H:%M UTC"
    )


def render(name: str, **values: Any) -> str:
    return _page_environment().get_template(name).render(**values)


def _shown(value: Any) -> Any:
    return visible(value) if type(value) is str else value


@cache
def _page_environment() -> Environment:
    # Everything is escaped: rows hold text of models and users.
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False, finalize=_shown,
    )  # fmt: skip
    environment.filters["number"] = lambda value: f"{value:,.0f}"
    environment.filters["moment"] = moment
    return environment
