"""python -m tests.bench [SCENARIO ...]: measures, prints the table of targets, and writes all numbers.

One scenario's failure is told in the table, and does not stop the others.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.scenarios import SCENARIOS
from tests.bench.scenarios.base import Bench, Unmeasured
from tests.bench.table import Result, markdown, rows


def main() -> int:
    options = _options()
    for name in [name for name in os.environ if name.startswith("STARMILL_") or name == "OPENAI_API_KEY"]:
        del os.environ[name]  # nothing of the developer's own
    facts = machine.facts()
    results: dict[str, Result] = {}
    for name in options.scenarios:
        results[name] = _repeated(name, options, Result())
        # After each, so that an interrupted hour is not lost.
        options.output.write_text(json.dumps(_document(facts, options, results), indent=2) + "\n")
        table = markdown(results, options.repeats, options.quick)
        options.markdown.write_text(table)
    sys.stdout.write(table)
    return 1 if any(result.error for result in results.values()) else 0


def _repeated(name: str, options: argparse.Namespace, result: Result) -> Result:
    for number in range(options.repeats):
        sys.stderr.write(f"{name} {number + 1}/{options.repeats}\n")
        with tempfile.TemporaryDirectory(prefix=f"bench-{name}-", ignore_cleanup_errors=True) as folder:
            bench = Bench(
                Path(folder), options.quick, options.calls, options.threads, options.workers,
                options.postgres, options.output.parent,
            )  # fmt: skip
            try:
                result.outcomes.append(SCENARIOS[name](bench))
            except Unmeasured as error:
                result.error = f"not measured: {error}"
                break
            except Exception as error:  # noqa: BLE001
                result.error = f"repeat {number + 1} failed: {type(error).__name__}: {error}"
    return result


def _document(
    facts: dict[str, object], options: argparse.Namespace, results: dict[str, Result]
) -> dict[str, Any]:
    scenarios = {name: asdict(result) | {"medians": result.medians} for name, result in results.items()}
    asked = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    return {"machine": facts, "options": asked, "table": rows(results), "scenarios": scenarios}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measures Starmill beside a plain AsyncOpenAI loop.",
        epilog="All scenarios take about 20 minutes for each repeat; --quick takes about 5 in all.",
    )
    parser.add_argument(
        "scenarios", nargs="*", default=list(SCENARIOS), metavar="SCENARIO",
        help=f"{', '.join(SCENARIOS)}; default: all",
    )  # fmt: skip
    parser.add_argument("--repeats", type=_count, default=5, help="medians are of so many (default: 5)")
    parser.add_argument("--calls", type=_count, help="calls, or rows, instead of each scenario's own number")
    parser.add_argument("--threads", type=_count, help="threads of each worker, likewise")
    parser.add_argument("--workers", type=_count, default=1, help="worker processes of `scale` (default: 1)")
    parser.add_argument("--postgres", action="store_true", help="`scale` keeps its ledger in PostgreSQL")
    parser.add_argument(
        "--quick", action="store_true", help="once and small: shows that it works, not how well"
    )
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="default: bench.json")
    parser.add_argument("--markdown", type=Path, default=Path("bench.md"), help="default: bench.md")
    options = parser.parse_args()
    if unknown := [name for name in options.scenarios if name not in SCENARIOS]:
        parser.error(f"no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}")
    if options.quick:
        options.repeats = 1
    return options


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    raise SystemExit(main())
