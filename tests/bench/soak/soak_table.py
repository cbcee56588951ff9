"""The table of a soak, and its targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.bench.process_tree import TreeUsage
from tests.bench.soak.sampling import Phase

PROCESS_MB, STATUS_MS = 250, 50
OURS = ("producer", "feeder", "worker")
PARTS = (*OURS, "PostgreSQL", "redis")
ACTIONS = ("inserted", "updated", "hot", "deleted")
TABLES = ("unit", "generation", "unit_count", "spending", "run", "lease", "rejection", "example")


@dataclass
class Soaked:
    """`whole_rows` were exported once, with both answers. `statements` are None if not counted."""

    rows: int
    whole_rows: int
    paid_again: int
    phases: list[Phase]
    afterwards: dict[str, TreeUsage]
    quiet_status_ms: float
    statements: int | None
    timeline: list[dict[str, Any]]

    @property
    def in_flight(self) -> int:
        return sum(phase.in_flight for phase in self.phases)

    def most_mb(self, part: str) -> float:
        return max((phase.resident_mb.get(part, 0.0) for phase in self.phases), default=0.0)

    def per_unit(self, counter: str) -> float:
        """Count from the first unit to the last."""
        phases = self.phases[1:]
        return sum(phase.counted.get(counter, 0) for phase in phases) / max(1, sum(p.units for p in phases))


def missed(soaked: Soaked) -> list[str]:
    """Return what was promised and is not so."""
    return [text for met, text in _targets(soaked) if not met]


def _targets(soaked: Soaked) -> Iterator[tuple[bool, str]]:
    yield soaked.whole_rows == soaked.rows, f"{soaked.whole_rows:,} whole rows of {soaked.rows:,}"
    again, open_calls = soaked.paid_again, soaked.in_flight
    yield (
        again <= open_calls,
        f"{again} calls were paid twice, {open_calls} were in flight when their worker was killed",
    )
    for part in OURS:
        most = soaked.most_mb(part)
        yield most <= PROCESS_MB, f"{part}: {most:,.0f} MB, at most {PROCESS_MB}"
    for name, usage in soaked.afterwards.items():
        yield usage.resident_mb <= PROCESS_MB, f"{name}: {usage.resident_mb:,.0f} MB, at most {PROCESS_MB}"
    for phase in soaked.phases:
        computed = _median(phase.status_cpu_ms)
        yield computed <= STATUS_MS, f"status, {phase.name}: {computed:,.1f} ms of CPU, at most {STATUS_MS}"
    quiet = soaked.quiet_status_ms
    yield quiet <= STATUS_MS, f"status of the finished run: {quiet:,.1f} ms, at most {STATUS_MS}"


def markdown(soaked: Soaked) -> str:
    lines = [*_phases(soaked), "", *_afterwards(soaked), "", *_postgres(soaked), ""]
    for met, text in _targets(soaked):
        lines.append(f"- {'met' if met else 'MISSED'}: {text}")
    return "\n".join(lines) + "\n"


def _phases(soaked: Soaked) -> Iterator[str]:
    headings = [
        "phase", "s", "units/s", *(f"CPU s {part}" for part in PARTS), *(f"MB {part}" for part in PARTS),
        "database MB", "dead rows", "connections", "Redis data MB", "status, CPU ms", "status, ms (most)",
        "in flight at the kill", "paid twice",
    ]  # fmt: skip
    yield f"| {' | '.join(headings)} |"
    yield "|---|" + "---:|" * (len(headings) - 1)
    for phase in soaked.phases:
        # Shared memory makes resident sets of PostgreSQL's processes meaningless.
        memory = phase.resident_mb | {"PostgreSQL": phase.proportional_mb.get("PostgreSQL", 0.0)}
        cells = [
            phase.name, f"{phase.seconds:,.0f}", f"{phase.units / phase.seconds:,.0f}",
            *(f"{phase.cpu_s.get(part, 0.0):,.1f}" for part in PARTS),
            *(f"{memory.get(part, 0.0):,.0f}" for part in PARTS),
            f"{phase.database_mb:,.0f}", f"{phase.dead_rows:,}", str(phase.connections),
            f"{phase.redis_mb:,.1f}", f"{_median(phase.status_cpu_ms):,.1f}",
            f"{_median(phase.status_ms):,.0f} ({max(phase.status_ms, default=0.0):,.0f})",
            str(phase.in_flight), str(phase.paid_again),
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def _median(values: Sequence[float]) -> float:
    return median(values) if values else 0.0


def _afterwards(soaked: Soaked) -> Iterator[str]:
    yield "| afterwards | s | CPU s | MB |"
    yield "|---|---:|---:|---:|"
    for name, usage in soaked.afterwards.items():
        wall = usage.ended - usage.began
        yield f"| {name} | {wall:,.1f} | {usage.cpu_s:,.1f} | {usage.resident_mb:,.0f} |"


def _postgres(soaked: Soaked) -> Iterator[str]:
    yield "| PostgreSQL, for each unit | |"
    yield "|---|---:|"
    units = sum(phase.units for phase in soaked.phases)
    if soaked.statements is not None:
        yield f"| statements (of the whole run, planning as well) | {soaked.statements / max(1, units):.2f} |"
    yield f"| transactions | {soaked.per_unit('commits'):.2f} |"
    yield f"| WAL: bytes | {soaked.per_unit('wal_bytes'):,.0f} |"
    for table in TABLES:
        numbers = [soaked.per_unit(f"{table} {action}") for action in ACTIONS]
        if any(numbers):
            shown = ", ".join(f"{number:.2f}" for number in numbers)
            yield f"| rows of `{table}`: {', '.join(ACTIONS)} | {shown} |"
