"""python -m tests.bench.scaling COSTS.json: a plan on paper, reckoned from what `tests.bench.costs` measured.

Prints a Markdown table for 10^5, 10^6 and 10^8 units. Prices, tokens and the provider's limits are options.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

SIZES = (10**5, 10**6, 10**8)
# Of a core, so that a peak finds some left.
USED = 0.6
CORES = 4
# A feeder whose queue runs short ticks so many times as often.
OFTENEST = 4


def main() -> None:
    options = _options()
    costs = json.loads(options.costs.read_text())
    if options.other:
        costs["worker_ms_of_cpu_per_unit"] = of_one_more(costs, json.loads(options.other.read_text()))
    columns = [reckoned(costs, options, units) for units in SIZES]
    lines = ["| units | " + " | ".join(f"10^{round(math.log10(size))}" for size in SIZES) + " |",
             "|---|" + "---:|" * len(SIZES)]  # fmt: skip
    for name in columns[0]:
        lines.append(f"| {name} | " + " | ".join(shown(column[name]) for column in columns) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


def of_one_more(costs: dict[str, Any], other: dict[str, Any]) -> float:
    """Milliseconds of the worker for a unit, without what it pays once; of two measurements that differ in
    size."""
    spent = [each["worker_ms_of_cpu_per_unit"] * each["units"] for each in (costs, other)]
    return float((spent[1] - spent[0]) / (other["units"] - costs["units"]))


def reckoned(costs: dict[str, Any], options: argparse.Namespace, units: int) -> dict[str, float]:
    """Estimate what this many units take at the speed that the provider's limits allow."""
    calls = units * costs["calls"] / costs["units"]
    minutes = max(calls / options.rpm, calls * (options.prompt + options.completion) / options.tpm)
    a_second = units / minutes / 60

    def cores(milliseconds_per_unit: float) -> float:
        return a_second * milliseconds_per_unit / 1000 / USED

    workers = cores(costs["worker_ms_of_cpu_per_unit"])
    return {
        "model calls": calls,
        "dollars": calls * (options.prompt * options.input + options.completion * options.output) / 1e6,
        "hours at the provider's limits": minutes / 60,
        "units a second": a_second,
        "calls in flight": calls / minutes / 60 * options.latency,
        "cores of workers": workers,
        f"worker machines of {CORES} cores": math.ceil(workers / CORES),
        "cores of the feeder for each run": OFTENEST * costs["feeder_share_of_a_core"] / USED,
        "cores of Redis": cores(costs["redis_us_of_cpu_per_unit"] / 1000),
        "Redis commands a second": a_second * costs["redis_commands_per_unit"],
        "MB of Redis if all were queued at once": units * costs["redis_bytes_per_message"] / 8 / 1e6,
        "cores of PostgreSQL": cores(costs["postgres_ms_of_cpu_per_unit"]),
        "commits a second": a_second * costs["postgres_commits_per_unit"],
        "GB of ledger": units * costs["ledger_bytes_per_unit"] / 1e9,
        "GB of WAL": units * costs["postgres_wal_bytes_per_unit"] / 1e9,
        "minutes to plan": units * costs["planning_us_of_cpu_per_unit"] / 6e7,
    }


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:.2g}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scaling", description=__doc__)
    parser.add_argument("costs", type=Path, metavar="COSTS.json")
    parser.add_argument("--other", type=Path, help="costs measured at another size")
    for name, default, says in (
        ("input", 0.15, "dollars for a million prompt tokens"),
        ("output", 0.60, "dollars for a million tokens of answers"),
        ("prompt", 800, "tokens of a prompt"),
        ("completion", 150, "tokens of an answer"),
        ("rpm", 10_000, "requests a minute"),
        ("tpm", 10_000_000, "tokens a minute"),
        ("latency", 3.0, "seconds that a call takes"),
    ):
        parser.add_argument(f"--{name}", type=float, default=default, help=f"{says} (default: {default})")
    return parser.parse_args()


if __name__ == "__main__":
    main()
