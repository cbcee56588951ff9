"""Estimated costs that can be checked by hand."""

from __future__ import annotations

import argparse

import pytest

from tests.bench.scaling import CORES, USED, of_one_more, reckoned

COSTS = {
    "units": 100, "calls": 50, "worker_ms_of_cpu_per_unit": 6, "feeder_share_of_a_core": 0.03,
    "redis_us_of_cpu_per_unit": 60, "redis_commands_per_unit": 3, "redis_bytes_per_message": 800,
    "postgres_ms_of_cpu_per_unit": 1.2, "postgres_commits_per_unit": 0.5, "ledger_bytes_per_unit": 2000,
    "postgres_wal_bytes_per_unit": 4000, "planning_us_of_cpu_per_unit": 60,
}  # fmt: skip


def test_a_million_units() -> None:
    options = argparse.Namespace(
        input=1.0, output=2.0, prompt=1000.0, completion=100.0, rpm=6000.0, tpm=1e9, latency=3.0
    )
    plan = reckoned(COSTS, options, 10**6)
    calls, seconds = 500_000, 5000
    assert plan["model calls"] == calls
    assert plan["dollars"] == pytest.approx(calls * (1000 * 1 + 100 * 2) / 1e6)
    assert plan["hours at the provider's limits"] == pytest.approx(seconds / 3600)
    assert plan["units a second"] == pytest.approx(200)
    assert plan["calls in flight"] == pytest.approx(300)
    assert plan["cores of workers"] == pytest.approx(200 * 0.006 / USED)
    assert plan[f"worker machines of {CORES} cores"] == 1
    assert plan["cores of Redis"] == pytest.approx(200 * 60e-6 / USED)
    assert plan["commits a second"] == pytest.approx(100)
    assert plan["GB of ledger"] == pytest.approx(2)
    options.tpm = 1_100_000.0
    assert reckoned(COSTS, options, 10**6)["hours at the provider's limits"] == pytest.approx(500 / 60)


def test_one_time_cost_is_not_charged_per_unit() -> None:
    """A second to start, then 4 ms each."""
    small, large = ({"units": n, "worker_ms_of_cpu_per_unit": (1000 + 4 * n) / n} for n in (100, 300))
    assert of_one_more(small, large) == pytest.approx(4)
    assert of_one_more(large, small) == pytest.approx(4)
