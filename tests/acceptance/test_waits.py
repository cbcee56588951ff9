"""A run that waits says for what, into a pipe and in `status`, and leaves at once when it is paused.

The cases run at once, through one real Redis, feeder and worker.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from storage.schema import READY
from tests.support.pipeline import wait_until
from tests.support.provider_runs import Stack, provider_stack

PATIENCE = 15.0  # seconds until a wait has to be told
LEAVE = 10.0  # until a paused run holds nothing
BOOM = {"status": 500, "json": {"error": {"message": "boom"}}}
UNSERVED = {"name": "unserved", "rows": [], "test_rows": 1}
CASES: list[dict[str, Any]] = [
    {"name": "paced", "rows": [], "set": {"teacher.rpm": 2}},
    {"name": "away", "rows": "all", "reply": BOOM},
    {"name": "blocked", "rows": [7], "times": 1, "reply": {"status": 429, "headers": {"retry-after": "300"}}},
]
LINES = {
    "paced": r"calls of paced wait for its limits: \d+, the first for \d+ s",
    "away": r"calls of away fail since \d\d:\d\d:\d\d, \d+ to be made again: .*status 500: boom",
    "blocked": r"calls of blocked are blocked for \d min \d\d s, until \d\d:\d\d:\d\d \(Retry-After\)",
    "unserved": r"no worker serves teacher\.unserved; start one: celery -A worker worker ",
}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with provider_stack(tmp_path_factory.mktemp("waits"), CASES) as running:
        running.provider.add([UNSERVED])
        running.start_all([*CASES, UNSERVED])
        yield running


def printed(stack: Stack, name: str) -> str:
    return stack.runs[name][3].read_text(errors="replace")


@pytest.mark.parametrize("name", LINES)
def test_wait_is_told_in_a_pipe_and_in_the_status(stack: Stack, name: str) -> None:
    slack = 15 if name == "unserved" else 10  # the worker has other cases to begin, too
    wait_until(lambda: re.search(LINES[name], printed(stack, name)), f"{name} is told", PATIENCE + slack)
    run = re.search(r"run (\S+): \d+ units planned", printed(stack, name))
    assert run
    told = wait_until(lambda: stack.home.json("status", run[1])["waits"], f"status of {name} has waits")
    assert any(re.match(LINES[name], line) for line in told)
    assert re.search(LINES[name], stack.home.starmill("status", run[1]).stdout)


@pytest.mark.parametrize("name", [case["name"] for case in CASES])
def test_paused_run_leaves_its_waits(stack: Stack, name: str) -> None:
    run = re.search(r"run (\S+): \d+ units planned", printed(stack, name))
    assert run
    stack.home.starmill("pause", run[1])
    paused = time.monotonic()
    wait_until(lambda: stack.home.json("status", run[1])["units"]["in_flight"] == 0, f"{name} leaves", LEAVE)
    assert stack.runs[name][0].wait(LEAVE) == 2
    assert time.monotonic() - paused < 2 * LEAVE
    asked = stack.provider.stats(name)["requests"]
    time.sleep(3)
    assert stack.provider.stats(name)["requests"] == asked
    units = stack.home.json("status", run[1])["units"]
    assert units["failed"] == 0
    assert units[READY] > 0
