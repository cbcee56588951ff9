"""The targets, and the measurement that shows if each is met."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.measured import Measured


@dataclass(frozen=True)
class Target:
    """`row` is that of the table of targets. Without a limit the number is only told; `beats_plain` asks that
    it be no greater than the plain loop's, too."""

    row: int
    scenario: str
    what: str
    metric: str
    at_most: float | None = None
    at_least: float | None = None
    beats_plain: bool = False
    digits: int = 2

    @property
    def limit(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        if self.at_most is None:
            return ""
        return f"<= {self.at_most:g}" + (" and <= plain" if self.beats_plain else "")

    def is_met(self, plain: Measured, starmill: Measured) -> bool | None:
        """None where nothing is promised or nothing was measured."""
        value = starmill.get(self.metric)
        if value is None or not self.limit:
            return None
        if self.at_least is not None:
            return value >= self.at_least
        assert self.at_most is not None
        beaten = not self.beats_plain or value <= plain.get(self.metric, value)
        return value <= self.at_most and beaten


def _killed(victim: str) -> tuple[Target, ...]:
    what = f"kill -9 of {victim} at half"
    return (
        Target(5, "kill", f"{what}: committed answers paid again", f"{victim}: committed_again", 0, digits=0),
        Target(5, "kill", f"{what}: paid again in all, %", f"{victim}: paid_again_percent", 0.2),
        Target(5, "kill", f"{what}: rows missing", f"{victim}: rows_lost", 0, digits=0),
        Target(5, "kill", f"{what}: longest pause, s", f"{victim}: recovery_s", 30, digits=1),
    )


def _limited(name: str, says: str) -> tuple[Target, ...]:
    what = f"6,000 RPM, 5 % errors, 4 workers, limits {says}"
    return (
        Target(7, "limits", f"{what}: rows lost", f"{name}: rows_lost", 0, digits=0),
        Target(7, "limits", f"{what}: 429s per row", f"{name}: 429s_per_row", 0.02, digits=3),
        Target(7, "limits", f"{what}: wall / ideal", f"{name}: wall_over_ideal", 1.15),
        Target(7, "limits", f"{what}: most admitted in 60 s", f"{name}: most_in_a_minute", digits=0),
    )


# The command plans, feeds, encodes an index and prints; see `process_tree`.
PROCESSES = {
    "command": "command", "model worker": "worker", "retrieve worker": "retrieve worker", "Redis": "Redis",
    "Milvus": "Milvus",
}  # fmt: skip


def _whole(command: str, *, promised: bool = True) -> tuple[Target, ...]:
    """The paper's pipeline asks several times for a row, encodes and judges: nothing is promised of it."""
    what, more = f"`starmill {command}`" if promised else command, "of 1,000 calls more"
    parts = {} if promised else PROCESSES

    def target(says: str, metric: str, limit: float, digits: int = 2, beats_plain: bool = False) -> Target:
        name = f"{command}: {metric}"
        return Target(0, "job", f"{what}: {says}", name, limit if promised else None, digits=digits,
                      beats_plain=beats_plain and promised)  # fmt: skip

    return (
        target("start to first call, s", "start_s", 2.0),
        target("first call to last answer / ideal", "calls_over_ideal", 1.25),
        target("last answer to exit, s", "end_s", 1.5),
        target("CPU s of one row", "one row: cpu_s", 3.5),
        target("CPU s of 1,000 calls more", f"cpu_s {more}", 3.5, beats_plain=True),
        *(target(f"of these, {part}", f"cpu_s of {name} {more}", 0) for part, name in parts.items()),
        target("MB of all processes", "resident_mb", 250, digits=0),
        *([target("rows lost", "rows_lost", 0, digits=0)] if promised else []),
    )


CPU = "cpu_s_per_1000"
TARGETS = (
    *_whole("generate"),
    *_whole("run --local"),
    *_whole("star, bm25", promised=False),
    *_whole("star, dense", promised=False),
    Target(1, "base", "one worker, 64 x 200 ms: wall / ideal", "wall_over_ideal", 1.10),
    Target(1, "jitter", "the same, latency +- 50 %: wall / ideal", "wall_over_ideal"),
    Target(2, "base", "CPU s per 1,000 calls, worker and feeder", CPU, 1.0, beats_plain=True),
    Target(2, "base", "of these, feeder", f"feeder_{CPU}"),
    Target(2, "base", "besides, Redis", f"redis_{CPU}"),
    Target(3, "fast", "latency 20 ms: calls/s of one worker process", "calls_per_s", at_least=600, digits=0),
    Target(4, "memory", "worker MB at 2,000 rows", "2,000 rows: peak_mb", 120, digits=0),
    Target(4, "memory", "worker MB at 10,000 rows", "10,000 rows: peak_mb", 120, digits=0),
    Target(4, "memory", "growth in between, MB", "growth_mb", 5, digits=1),
    *_killed("worker"),
    *_killed("worker beside a gateway"),
    *_killed("Redis"),
    *_killed("feeder"),
    Target(
        5,
        "kill",
        "kill -9 of everything at half: answers that had arrived paid again, %",
        "everything: arrived_again_percent",
        0.3,
    ),
    Target(5, "kill", "kill -9 of everything at half: rows missing", "everything: rows_lost", 0, digits=0),
    Target(6, "slow", "units that outlive the visibility timeout: paid twice", "paid_again", 0, digits=0),
    Target(6, "slow", "messages of theirs that were delivered again", "delivered_again", digits=0),
    *_limited("told", "in headers"),
    *_limited("untold", "not told"),
    Target(8, "outage", "15 s outage: rows lost", "rows_lost", 0, digits=0),
    Target(8, "outage", "15 s outage: wasted requests", "503s", 150, digits=0),
    Target(
        9,
        "malformed",
        "malformed answers of 5 kinds: rows finished, %",
        "rows_finished_percent",
        at_least=100,
    ),
    Target(9, "malformed", "malformed answers of 5 kinds: null rows", "rows_null", 0, digits=0),
    Target(10, "budget", "money cap: overshoot / calls in flight", "overshoot_over_in_flight", 1.0),
    Target(10, "budget", "money cap: spent / budget", "spent_over_budget", digits=3),
    Target(11, "million", "a million units planned and fed: producer MB", "producer_mb", 200, digits=0),
    Target(11, "million", "a million units planned and fed: Redis MB", "redis_mb", 100, digits=0),
    Target(11, "million", "a million units: seconds to plan", "planning_s", digits=0),
    Target(12, "scale", "20,000 rows: units/s, last tenth / first", "last_over_first_tenth", at_least=0.9),
    Target(12, "scale", "20,000 rows: units/s", "units_per_s", digits=0),
    Target(12, "scale", "20,000 rows: last train unit to first call behind it, s", "barrier_s", 2),
    Target(12, "scale", "20,000 rows: ms to read the status", "status_ms", digits=1),
)
