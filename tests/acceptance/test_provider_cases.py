"""Replies of providers as public bug reports describe them, each through real queue, worker and ledger.

All cases run at once through one stack. A case runs only if its test is selected.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.support.provider_experiments import own_cases, shared_cases
from tests.support.provider_runs import SEEN, Seen, Stack, provider_stack
from tests.support.scripted_replies import normal_text

SECONDS = 100.0
# What is asked again for a while before it is given up.
PATIENT = {"always_500": 300.0, "slower_than_timeout": 300.0}
AT_ONCE = 4
TRAIN = [f"ROW-{number}" for number in range(1, 21)]
OWN = {case["name"]: case for case in own_cases()}
ANSWERED = {"exit_code": 0, "state": "finished", "failed": {}}

pytestmark = pytest.mark.timeout(900)


def case_name(item: Any) -> str:
    """Return the case of a test: its parameter `case`, else what stands after `test_`."""
    callspec = getattr(item, "callspec", None)
    return str(callspec.params["case"]) if callspec else item.name.removeprefix("test_")


@pytest.fixture(scope="module")
def stack(
    request: pytest.FixtureRequest, reference_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    here = [item for item in request.session.items if item.path == Path(__file__)]
    every = {case["name"]: case for case in shared_cases(reference_data)} | OWN
    cases = [every[name] for name in map(case_name, here) if name in every]
    with provider_stack(tmp_path_factory.mktemp("cases"), cases) as running:
        running.start_all(cases)
        yield running


@pytest.fixture
def seen(stack: Stack, request: pytest.FixtureRequest) -> Seen:
    """The outcome of the test's case. Some things hold for every case."""
    name = case_name(request.node)
    seen = request.node.stash[SEEN] = stack.seen(name, PATIENT.get(name, SECONDS))
    assert "Traceback" not in seen.printed
    assert "\x1b" not in seen.printed
    return seen


def assert_answered(seen: Seen) -> None:
    """Every row has its normal answer, nothing is held, and all that was billed is booked."""
    assert {name: getattr(seen, name) for name in ANSWERED} == ANSWERED
    assert seen.leased == 0
    assert_booked(seen)


def assert_booked(seen: Seen) -> None:
    assert seen.dollars >= seen.provider["dollars"] - 1e-9
    assert all(
        0 <= call[f"{kind}_tokens"] <= 10**9 and call["cached_tokens"] <= call["prompt_tokens"]
        for call in seen.generations
        for kind in ("prompt", "cached", "completion")
    )


def assert_failed(seen: Seen, row: str, reason: str, at_most: int) -> None:
    """One row fails after so many requests at most; all others finish."""
    assert seen.exit_code == 1
    assert seen.failed == {row: reason}
    assert len(seen.requests(row)) <= at_most
    assert seen.leased == 0
    assert_booked(seen)


def test_always_500(seen: Seen) -> None:
    assert_failed(seen, "ROW-7", "server_error", at_most=20)
    assert len(seen.requests("ROW-7")) >= 3
    seen.home.starmill("retry", seen.run)
    assert seen.home.json("status", seen.run)["units"]["failed"] == 0


def test_slower_than_timeout(seen: Seen) -> None:
    assert "no answer within 2 s" in seen.printed + " ".join(str(unit.detail) for unit in seen.units)
    assert 1 < len(seen.requests("ROW-7")) <= 20
    assert seen.exit_code in (1, 2)
    assert seen.leased == 0
    status = seen.home.json("status", seen.run)
    # What may have been spent counts against the budget, in the ledger's sum or beside it.
    assert "possible" in str(status) or status["cost_usd"] >= seen.provider["dollars"]


def test_wrong_parameter(seen: Seen) -> None:
    assert (seen.exit_code, seen.state) == (2, "paused")
    assert seen.provider["requests"] <= AT_ONCE
    [line] = [line for line in seen.stderr.splitlines() if line.startswith("starmill:")]
    assert "max_completion_tokens" in line
    assert seen.failed == {}


def test_reasoning_eats_the_limit(seen: Seen) -> None:
    assert "raise max_completion_tokens" in seen.printed + seen.message
    assert seen.provider["paid_twice"] == 0
    assert max(seen.provider["rows"].values()) <= 2


def test_content_is_a_list(seen: Seen) -> None:
    assert_answered(seen)
    assert seen.result("ROW-7", "rationale")["text"] == normal_text("ROW-7")
    assert len(seen.requests("ROW-7")) == 1


def test_error_in_200(seen: Seen) -> None:
    assert_answered(seen)
    assert len(seen.requests("ROW-7")) == 4
    assert not seen.rejections


def test_think_in_text(seen: Seen, tmp_path: Path) -> None:
    assert_answered(seen)
    assert seen.result("ROW-7", "rationale")["text"] == normal_text("ROW-7")
    output = tmp_path / "synthetic.jsonl"
    seen.home.starmill("export", seen.run, "--what", "synthetic", "-o", output)
    assert "Perhaps" not in output.read_text()


def test_no_usage(seen: Seen) -> None:
    assert (seen.exit_code, seen.state) == (2, "paused")
    assert "budget_usd" in seen.message
    assert 0 < seen.dollars <= 0.001
    assert_booked(seen)
    assert "estimated" in seen.home.starmill("status", seen.run).stdout


@pytest.mark.parametrize("case", ["absurd_usage", "negative_usage", "more_cached_than_prompt"])
def test_usage_is_clamped(seen: Seen, case: str) -> None:
    assert_answered(seen)
    assert seen.dollars < 10_000


def test_half_a_surrogate(seen: Seen) -> None:
    assert_failed(seen, "ROW-3", "bad_request", at_most=4)
    assert "caf" in seen.detail("ROW-3")
    seen.detail("ROW-3").encode()


def test_context_without_code(seen: Seen) -> None:
    requests = seen.requests("TEST-1")
    assert 1 < len(requests) <= 8
    assert len(requests[-1]["sent"]["prompt"]) < len(requests[0]["sent"]["prompt"])
    assert seen.failed == {"TEST-1": "context_overflow"}
    assert seen.leased == 0


def test_transient_400(seen: Seen) -> None:
    assert_answered(seen)
    assert len(seen.requests("ROW-7")) == 2


def test_retry_after_a_day(seen: Seen) -> None:
    """The run pauses until the time that it names, or waits for minutes and says so; it is not silent."""
    if seen.state == "paused":
        assert re.search(r"until \d|\d\d:\d\d", seen.message)
    elif seen.exit_code is None:
        assert re.search(r"\b\d+ (min|h)\b.*Retry-After|Retry-After.*\b\d+ (min|h)\b", seen.printed)
    else:
        assert_answered(seen)


def test_reset_only(seen: Seen) -> None:
    """The row waits about as long as it was told, and the line says how long."""
    first, *later = seen.requests("ROW-7")
    assert [call["at"] for call in later if call["at"] - first["at"] < 300] == []
    assert re.search(r"\b[4-6] min\b", seen.printed)
    assert seen.failed == {}


def test_limit_of_a_day(seen: Seen) -> None:
    assert_answered(seen)
    at = [call["at"] for call in seen.provider["calls"] if call["row"] in TRAIN]
    # At 60 a minute there is a second between any two.
    assert median(later - earlier for earlier, later in pairwise(at)) < 0.7


def test_azure_filter(seen: Seen) -> None:
    assert_failed(seen, "ROW-7", "refusal", at_most=4)


def test_aborted_generation(seen: Seen) -> None:
    assert_answered(seen)
    assert seen.result("ROW-7", "rationale")["text"] == normal_text("ROW-7")
    assert len(seen.requests("ROW-7")) == 2
    assert not seen.rejections


def verdicts(seen: Seen) -> dict[str, str]:
    """Return the stored verdict on each test row."""
    return {
        unit.row: "right" if (unit.result or {}).get("correct") else str(unit.reason or "wrong")
        for unit in seen.units
        if unit.stage == "judge"
    }


def test_judge_forms(seen: Seen) -> None:
    assert set(verdicts(seen).values()) <= {"wrong", "no_verdict"}
    assert seen.leased == 0


def test_twenty_verdicts(seen: Seen) -> None:
    negative = [f"TEST-{number + 1}" for number in range(OWN[seen.case]["negative"])]
    reversed_ = [row for row, verdict in verdicts(seen).items() if (verdict == "right") == (row in negative)]
    assert [row for row in reversed_ if verdicts(seen)[row] != "no_verdict"] == []
    # Half of the clear forms at least are read.
    assert sum(verdict == "no_verdict" for verdict in verdicts(seen).values()) <= 10


@pytest.mark.parametrize("case", sorted(name for name in OWN if name != "twenty_verdicts"))
def test_case_is_as_expected(seen: Seen, case: str) -> None:
    expect = OWN[case]["expect"]
    codes = expect["exit"] if isinstance(expect["exit"], list) else [expect["exit"]]
    assert seen.exit_code in codes
    assert seen.leased == 0
    if expect["exit"] == 0 or "failed" in expect:
        assert seen.failed == expect.get("failed", {})
    if "paused" in expect:
        assert (seen.state, seen.failed) == ("paused", {})
        assert expect["paused"] in seen.message
    for row, (least, most) in expect.get("requests", {}).items():
        assert least <= len(seen.requests(row)) <= most, row
    least, most = expect.get("requests_in_all", (1, 10**9))
    assert least <= seen.provider["requests"] <= most
    for row in expect.get("clean", ()):
        stage = "answer" if row.startswith("TEST") else "rationale"
        assert seen.result(row, stage)["text"] == normal_text(row)
    if "rejections" in expect:
        assert seen.rejections == expect["rejections"]
    if expect.get("plain"):
        assert os.linesep not in seen.detail("ROW-3")
        assert "\x1b" not in seen.home.starmill("failures", seen.run).stdout
    assert_booked(seen)


def test_nothing_reaches_the_log_as_a_traceback(stack: Stack) -> None:
    assert "Traceback" not in stack.worker_log
