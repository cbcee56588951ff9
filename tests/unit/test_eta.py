"""The ETA counts the calls to come at each queue, also those behind conditions and barriers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from models.core.experiment.experiment import Experiment
from models.core.types import Usage
from producer.progress.eta import Pace, seconds_left
from storage.ledger.counts import Funnel, Spending
from storage.ledger.pace import EndedUnits
from storage.ledger.runs import Run
from storage.schema import DONE, READY, SKIPPED, TEST, TRAIN, WAITING
from tests.support import small_run, step_runs

NOW = 1_000.0
STEPS: dict[str, Any] = {
    "draft": {"prompt": "Explain {{ question }}"},
    "better": {"prompt": "Improve {{ draft }}", "when": "draft != ''"},
}


def run_of(experiment: Experiment) -> Run:
    return Run("r-1", "r", "running", "", experiment, "", 0, 0.0, 0.0, None)


def funnel(cells: dict[tuple[str, str, str], dict[str, int]]) -> Funnel:
    return Funnel({cell: Counter(states) for cell, states in cells.items()})


def pace(*ended: EndedUnits, seconds: float = 60.0) -> Pace:
    return Pace(ended, NOW - seconds, NOW)


def ended(stage: str, number: int, seconds: float, queue: str = "model.writer") -> EndedUnits:
    return EndedUnits(queue, stage, number, NOW - seconds, NOW)


def spending(calls: int, latency: float) -> Spending:
    return Spending(calls, Usage(), 0, calls * latency)


def steps_left(better: dict[str, int], **limits: Any) -> float | None:
    """A run of 1,000 rows, of which 100 have a draft after 100 calls in 10 s."""
    teacher = {"backend": "openai", "model": "writer", **limits}
    run = run_of(step_runs.experiment(steps=STEPS, teacher=teacher, models={}))
    cells = {(TRAIN, "draft", ""): {DONE: 100, READY: 900}, (TRAIN, "better", ""): better}
    units = [ended("draft", 100, 10.0)]
    if number := better.get(DONE, 0):
        units.append(ended("better", number, 10.0))
    spent = {"draft": spending(100, 0.2), "better": spending(number, 0.2)}
    return seconds_left(run, funnel(cells), pace(*units), spent)


def test_steps_to_come_share_the_calls_of_their_model() -> None:
    # 1,800 calls are left, and 200 were made in 10 s.
    assert steps_left({DONE: 100, WAITING: 900}) == pytest.approx(90)


def test_condition_counts_by_the_share_seen() -> None:
    # A fifth of the rows is improved: 900 + 180 calls are left, at 12 a second.
    assert steps_left({DONE: 20, SKIPPED: 80, WAITING: 900}) == pytest.approx(90)
    # Before any row came to it, half of them: 900 + 500 calls, at 10 a second.
    assert steps_left({WAITING: 1000}) == pytest.approx(140)


def test_calls_that_are_made_again_take_their_time() -> None:
    run = run_of(step_runs.experiment(steps={"draft": STEPS["draft"]}, models={}))
    cells = funnel({(TRAIN, "draft", ""): {DONE: 100, READY: 900}})
    for calls in (100, 200):
        left = seconds_left(run, cells, pace(ended("draft", 100, 10.0)), {"draft": spending(calls, 0.2)})
        assert left == pytest.approx(90)


STUDENT = {"backend": "server", "model": "small", "base_url": "http://h/v1"}
STAR: dict[str, Any] = {
    "teacher": {"backend": "openai", "model": "large", "max_concurrency": 1},
    "augment": {"enabled": False},
    "passages": None,
    "rationale": {"passes": 0},
    "grid": {"shots": [0, 2], "retrieval": [False], "rationale": ["none"]},
}


def star_left(student: dict[str, Any], *, train_is_done: bool = False) -> float | None:
    """Half of 100 train rows have a rationale, in 50 s; 200 answers are left, half of them wait for all."""
    run = run_of(small_run.experiment(**STAR, students=[STUDENT | student]))
    train = {DONE: 100} if train_is_done else {DONE: 50, READY: 50}
    cells = {
        (TRAIN, "rationale", ""): train,
        (TEST, "answer", "student/0-shot"): {READY: 100},
        (TEST, "answer", "student/2-shot"): {WAITING: 100},
    }
    rationales = ended("rationale", 50, 50.0, "model.large")
    return seconds_left(run, funnel(cells), pace(rationales), {"rationale": spending(50, 1.0)})


def test_what_waits_behind_the_barrier_follows() -> None:
    # Answers at one a second: 100 beside the 50 rationales, then the other 100.
    assert star_left({"rpm": 60}) == pytest.approx(200)
    assert star_left({"rpm": 60}, train_is_done=True) == pytest.approx(200)
    assert star_left({"rpm": 6000, "max_concurrency": 100}) == pytest.approx(51, abs=2)


def test_queue_is_no_slower_for_having_waited() -> None:
    run = run_of(small_run.experiment(**STAR, students=[STUDENT]))
    cells = {
        (TRAIN, "rationale", ""): {DONE: 50, READY: 50},
        (TEST, "answer", "student/0-shot"): {DONE: 100},
        (TEST, "answer", "student/2-shot"): {WAITING: 100},
    }
    answers = EndedUnits("model.small", "answer", 100, NOW - 50, NOW - 40)
    seen = pace(ended("rationale", 50, 50.0, "model.large"), answers)
    assert seconds_left(run, funnel(cells), seen, {"rationale": spending(50, 1.0)}) == pytest.approx(60)


def test_calls_one_after_the_other_are_a_bound() -> None:
    run = run_of(step_runs.experiment(steps=STEPS, models={}))
    cells = funnel({(TRAIN, "draft", ""): {DONE: 9, READY: 1}, (TRAIN, "better", ""): {WAITING: 10}})
    spent = {"draft": spending(9, 60.0), "better": spending(9, 30.0)}
    assert seconds_left(run, cells, pace(ended("draft", 9, 1.0)), spent) == pytest.approx(90)


def test_first_call_tells_what_the_limits_allow() -> None:
    run = run_of(step_runs.experiment(steps={"draft": STEPS["draft"]}, models={}))
    cells = funnel({(TRAIN, "draft", ""): {DONE: 1, READY: 640}})
    seen = pace(ended("draft", 1, 1.0), seconds=5.0)
    # 64 at once, each for a second.
    assert seconds_left(run, cells, seen, {"draft": spending(1, 1.0)}) == pytest.approx(10)


def test_nothing_is_known_before_the_first_call() -> None:
    run = run_of(step_runs.experiment(steps=STEPS, models={}))
    assert seconds_left(run, funnel({(TRAIN, "draft", ""): {READY: 10}}), pace(), {}) is None


@pytest.mark.parametrize(
    ("last", "number", "first", "still"),
    [(5, 100, 50, False), (11, 100, 50, True), (60, 3, 180, False), (200, 3, 300, True), (0, 0, 0, True)],
)
def test_run_stands_still_when_nothing_ends_for_longer_than_before(
    last: float, number: int, first: float, still: bool
) -> None:
    units = [EndedUnits("q", "draft", number, NOW - first, NOW - last)] if number else []
    assert Pace(units, NOW - 600, NOW).stands_still is still
