"""`make bench`: what the queue and the ledger cost, beside a plain loop on the same server in the same run.

    python -m tests.bench [--calls 1000] [--latency-ms 200] [--concurrency 64] [--repeats 3]

Prints one Markdown table and writes one JSON file. `wall / ideal` compares with calls x latency /
concurrency; CPU seconds are those of all client processes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from tests.bench.scenarios import Measured, plain_loop, starmill_run
from tests.openai_server.process import running


def main() -> None:
    options = _options()
    ideal = options.calls * options.latency_ms / 1000 / options.concurrency
    measured: dict[str, list[Measured]] = {"plain AsyncOpenAI loop": [], "starmill": []}
    for _ in range(options.repeats):
        with (
            tempfile.TemporaryDirectory() as folder,
            running("--latency-ms", str(options.latency_ms)) as server,
        ):
            place, url = Path(folder), server.url
            measured["plain AsyncOpenAI loop"].append(
                plain_loop(url, options.calls, options.concurrency, place / "checkpoint.jsonl")
            )
            measured["starmill"].append(starmill_run(url, options.calls, options.concurrency, place))
    rows = {name: _median(runs, ideal) for name, runs in measured.items()}
    options.output.write_text(json.dumps({"options": vars(options), "medians": rows}, default=str, indent=2))
    sys.stdout.write(_table(rows, options))


def _median(runs: list[Measured], ideal: float) -> dict[str, float]:
    return {
        "wall / ideal": statistics.median(run.wall / ideal for run in runs),
        "CPU s per 1,000 calls": statistics.median(run.cpu * 1000 / run.calls for run in runs),
        "worker MB": statistics.median(run.megabytes for run in runs),
    }


def _table(rows: dict[str, dict[str, float]], options: argparse.Namespace) -> str:
    columns = list(next(iter(rows.values())))
    head = f"{options.calls} calls of {options.latency_ms} ms, {options.concurrency} at once"
    lines = [f"| {head} | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    lines += [
        f"| {name} | {' | '.join(f'{row[column]:.2f}' for column in columns)} |" for name, row in rows.items()
    ]
    return "\n".join(lines) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--latency-ms", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
