"""A table of all cases of the scripted provider, from the runs of their tests.

python -m tests.support.provider_table [-k EXPRESSION] [-o FILE]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.openai_server.process import REPOSITORY
from tests.support.provider_runs import SEEN, Seen

TESTS = REPOSITORY / "tests" / "acceptance" / "test_provider_cases.py"
HEADER = "| case | seen | rows lost | paid twice | dollars in ledger / by the provider | as it should be |"
RULE = "|---|---|---:|---:|---:|---|"


class Collector:
    """A plugin of pytest: keeps what each test saw, and whether it was right."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[Seen, bool]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        seen = item.stash.get(SEEN, None)
        if seen and call.when in ("setup", "call"):
            right = report.passed and self.rows.get(seen.case, (seen, True))[1]
            self.rows[seen.case] = (seen, right)
        return report

    def table(self) -> str:
        return "\n".join([HEADER, RULE, *(_line(seen, right) for seen, right in self.rows.values())]) + "\n"


def _line(seen: Seen, right: bool) -> str:
    cells: list[Any] = [
        seen.case, _outcome(seen), seen.rows_lost, seen.provider["paid_twice"],
        f"{seen.dollars:.6f} / {seen.provider['dollars']:.6f}", "yes" if right else "no",
    ]  # fmt: skip
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _outcome(seen: Seen) -> str:
    """Return state, failures by reason, requests of the row that was asked most, and what is still held."""
    reasons = Counter(str(unit.reason) for unit in seen.units if unit.state == "failed")
    parts = [seen.state if seen.exit_code is None else f"{seen.state}, exit {seen.exit_code}"]
    parts += [f"{number} failed as {reason}" for reason, number in reasons.items()]
    parts += [f"{number} answers rejected as {reason}" for reason, number in seen.rejections.items()]
    row, most = max(seen.provider["rows"].items(), key=lambda item: item[1], default=("", 0))
    parts += [f"{row} asked {most} times"] if most > 1 else []
    parts += [f"{seen.leased} held after {seen.seconds:.0f} s"] if seen.leased else []
    return ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.provider_table", description=__doc__)
    parser.add_argument("-k", default="", metavar="EXPRESSION", help="only cases whose tests match")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the table here, too")
    options = parser.parse_args()
    collector = Collector()
    pytest.main([str(TESTS), "-q", "--tb=line", "-p", "no:cacheprovider", "-k", options.k], [collector])
    print(collector.table())
    if options.output:
        options.output.write_text(collector.table())


if __name__ == "__main__":
    main()
