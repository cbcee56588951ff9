"""A run that waits says for what, into a pipe, in `status` and on the run page, and leaves at once when it is
paused.

The cases run at once, through one real Redis, feeder and worker.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from storage.schema import READY
from tests.support.pipeline import wait_until
from tests.support.provider_runs import Stack, provider_stack
from tests.support.services import closed_port
from tests.support.serving import PASSWORD, Served, served

PATIENCE = 15.0  # seconds until a wait has to be told
LEAVE = 10.0  # until a paused run holds nothing
BOOM = {"status": 500, "json": {"error": {"message": "boom"}}}
UNSERVED = {"name": "unserved", "rows": [], "test_rows": 1}
CASES: list[dict[str, Any]] = [
    {"name": "paced", "rows": [], "set": {"teacher.rpm": 1}},
    {"name": "away", "rows": "all", "reply": BOOM},
    {"name": "blocked", "rows": [7], "times": 1, "reply": {"status": 429, "headers": {"retry-after": "300"}}},
]
HUNG = {"name": "hung", "rows": "all", "reply": {"delay_s": 600}}
SPENT = {"name": "spent", "rows": [], "set": {"budget_usd": 0.0001}}
LINES = {
    "paced": r"calls of paced wait for its limit of 1 calls a minute: \d+, the first for [\d min]*\d+ s; "
    r"the next one starts at \d\d:\d\d:\d\d",
    "away": r"calls of away fail since \d\d:\d\d:\d\d, \d+ to be made again: .*status 500: boom",
    "blocked": r"calls of blocked are blocked for \d min \d\d s, until \d\d:\d\d:\d\d \(Retry-After\)",
    "stopped": r"calls of stopped fail since \d\d:\d\d:\d\d, \d+ to be made again: "
    r"stopped at http://127\.0\.0\.1:\d+/v1: .*[Cc]onnect",
    "hung": r"nothing has ended since \d\d:\d\d:\d\d: "
    r"\d calls of hung \(http://127\.0\.0\.1:\d+/hung/v1\) have no answer yet",
    "spent": r"paused: budget_usd 0\.0001 does not allow another call",
    "unserved": r"no worker serves model\.unserved; start one: starmill worker model\.unserved",
}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}/v1"
        cases = [*CASES, {"name": "stopped", "rows": [], "set": {"teacher.base_url": url}}, HUNG, SPENT]
        with provider_stack(tmp_path_factory.mktemp("waits"), cases, threads=160) as running:
            running.provider.add([UNSERVED])
            running.start_all([*cases, UNSERVED])
            yield running


@pytest.fixture(scope="module")
def page(stack: Stack) -> Iterator[Served]:
    with served(stack.home) as running:
        yield running


def printed(stack: Stack, name: str) -> str:
    return stack.runs[name][3].read_text(errors="replace")


@pytest.mark.parametrize("name", LINES)
def test_wait_is_told_in_a_pipe_in_the_status_and_on_the_page(stack: Stack, page: Served, name: str) -> None:
    slack = 15  # the worker has other cases to begin, too
    wait_until(lambda: re.search(LINES[name], printed(stack, name)), f"{name} is told", PATIENCE + slack)
    run = re.search(r"run (\S+): \d+ units planned", printed(stack, name))
    assert run is not None
    told = wait_until(lambda: stack.home.json("status", run[1])["waits"], f"status of {name} has waits")
    assert any(re.match(LINES[name], line) for line in told)
    assert re.search(LINES[name], stack.home.starmill("status", run[1]).stdout)
    if name != "paced":
        without_eta = f"{name} stands still without an ETA"
        wait_until(lambda: stack.home.json("status", run[1])["eta_seconds"] is None, without_eta, PATIENCE)

    def is_shown() -> object:
        return re.search(LINES[name], html.unescape(page.ask(f"/runs/{run[1]}", password=PASSWORD).text))

    wait_until(is_shown, f"{name} is on the page", PATIENCE)


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
