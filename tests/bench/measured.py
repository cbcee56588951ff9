"""The figures that are measured of both subjects, by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.bench.load import Load

Measured = dict[str, float]


def cpu_seconds(pid: int | str = "self") -> float:
    """User and system time of a living process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(pid: int | str = "self") -> float:
    """The largest resident set that a living process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [kibibytes] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(kibibytes) * 1024 / 1e6


def measured(
    load: Load, stats: dict[str, Any], *, wall: float, finished: int, null: int, **more: float
) -> Measured:
    """`stats` are the model server's; `wall` is in seconds, `finished` and `null` count rows."""
    calls, statuses = load.calls, stats["statuses"]
    return {
        "wall_s": wall,
        "wall_over_ideal": wall / load.ideal,
        "calls_per_s": calls / wall,
        "rows_finished_percent": 100 * finished / calls,
        "rows_lost": calls - finished,
        "rows_null": null,
        "requests": stats["calls"],
        "in_flight_max": stats["in_flight_max"],
        "paid_again": stats["paid_again"],
        "paid_again_percent": 100 * stats["paid_again"] / calls,
        "429s_per_row": statuses.get("429", 0) / calls,
        "500s": statuses.get("500", 0),
        "503s": statuses.get("503", 0),
        "most_in_a_minute": stats["most_in_a_minute"],
        **more,
    }
