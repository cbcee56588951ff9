"""The table of a soak: what was promised, and which of it was missed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bench.process_tree import TreeUsage
from tests.bench.soak.sampling import Phase
from tests.bench.soak.soak_table import Soaked, markdown, missed
from tests.bench.speed_curve import speeds_of_seconds, write_speeds

COUNTED = {"commits": 300, "wal_bytes": 80_000, "unit updated": 400}


def phase(name: str, **values: Any) -> Phase:
    measured: dict[str, Any] = {
        "units": 100, "resident_mb": {"worker": 130.0, "producer": 110.0}, "status_cpu_ms": [9.0, 20.0, 70.0],
        "counted": COUNTED, "in_flight": 3,
    }  # fmt: skip
    return Phase(name, 10.0, 20.0, **measured | values)


def soaked(**values: Any) -> Soaked:
    measured: dict[str, Any] = {
        "rows": 100, "whole_rows": 100, "paid_again": 6, "phases": [phase("plan", units=0), phase("start")],
        "afterwards": {"export": TreeUsage(0.0, 2.0, 1.0, 90.0)}, "quiet_status_ms": 12.0, "statements": None,
        "timeline": [],
    }  # fmt: skip
    return Soaked(**measured | values)


def test_nothing_is_missed_at_the_limits() -> None:
    assert missed(soaked()) == []


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"whole_rows": 99}, "99 whole rows of 100"),
        ({"paid_again": 7}, "7 calls were paid twice, 6 were in flight when their worker was killed"),
        (
            {"phases": [phase("start", resident_mb={"feeder": 251.0}, in_flight=6)]},
            "feeder: 251 MB, at most 250",
        ),
        ({"afterwards": {"quality": TreeUsage(0.0, resident_mb=300.0)}}, "quality: 300 MB, at most 250"),
        (
            {"phases": [phase("start", status_cpu_ms=[51.0], in_flight=6)]},
            "status, start: 51.0 ms of CPU, at most 50",
        ),
        ({"quiet_status_ms": 60.0}, "status of the finished run: 60.0 ms, at most 50"),
    ],
)
def test_each_missed_target_is_named(values: dict[str, Any], line: str) -> None:
    assert missed(soaked(**values)) == [line]
    assert f"- MISSED: {line}" in markdown(soaked(**values))


def test_table_has_a_line_for_each_phase_and_costs_of_a_unit_without_planning() -> None:
    lines = markdown(soaked()).splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert lines[3].startswith("| start | 10 | 10 |")
    assert "| transactions | 3.00 |" in lines
    assert "| rows of `unit`: inserted, updated, hot, deleted | 0.00, 4.00, 0.00, 0.00 |" in lines


def test_plot_shows_the_kills(tmp_path: Path) -> None:
    speeds = speeds_of_seconds({0: 5, 1: 7, 359: 6})
    assert speeds[0] == (3.0, 4.0)
    assert speeds[-1] == (360.0, 2.0)
    write_speeds(tmp_path, "soak", speeds, {"worker <0>": 180.0})
    drawn = (tmp_path / "soak.svg").read_text()
    assert ">worker &lt;0&gt;</text>" in drawn
    assert '<line x1="360"' in drawn
