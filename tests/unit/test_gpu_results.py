"""Parts of the measurement on a GPU that need none: what is written, compared, cut and skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.gpu.__main__ import Part, do_part
from tests.engine.gpu.by_worker import Measurement
from tests.engine.gpu.results import Results
from tests.engine.gpu.shapes import TINY

FACTS = {
    "processor": "x86",
    "cores": 2,
    "gpus": [{"name": "H1", "memory_gb": 9}],
    "engines": {"vllm": "0.28.0"},
}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path, {}, facts=FACTS)


def case(speed: float, **more: Any) -> dict[str, Any]:
    return {"grid": {"tokens_per_second": speed, **more}, "opening_seconds": 3}


def test_a_worker_is_compared_with_the_bare_engine_of_its_round(results: Results) -> None:
    results.add("worker llama 1", 1, case(90.0, occupancy=0.9))
    results.add("worker llama 2", 1, case(99.0, occupancy=0.97))
    results.add("bare llama 1", 1, case(100.0))
    results.add("bare llama 2", 1, case(100.0))
    rows = (results.out / "results.md").read_text().splitlines()
    assert "| worker llama 1 | grid | 90.0 | 0.9 | 0.900 (goal: 0.97) |" in rows
    assert "| worker llama 2 | grid | 99.0 | 0.97 | 0.990 |" in rows
    assert rows[0] == "x86, 2 cores; H1; vllm 0.28.0"


def parts_of(results: Results) -> Iterator[tuple[str, Any, str]]:
    document = json.loads((results.out / "results.json").read_text())
    return ((part["part"], part["figures"], part["why"]) for part in document["parts"])


def test_a_part_that_does_not_fit_is_skipped_and_one_that_fails_stops_no_other(results: Results) -> None:
    left = [100.0]
    bench = Measurement(TINY, results.out, lambda: left[0])
    took: dict[str, float] = {}

    def answer(figures: dict[str, Any]) -> None:
        figures |= case(1.0)

    def fail(figures: dict[str, Any]) -> None:
        raise RuntimeError("no engine\nat all")

    def run_out(figures: dict[str, Any]) -> None:
        answer(figures)
        left[0] = -1.0
        raise AssertionError("2 of 9 in 100 s")

    do_part(Part("bare", "long", 101.0, answer), bench, results, took)
    do_part(Part("worker", "broken", 9.0, fail), bench, results, took)
    do_part(Part("bench", "short", 99.0, answer), bench, results, took)
    do_part(Part("killed", "cut", 99.0, run_out), bench, results, took)
    assert list(parts_of(results)) == [
        ("long", {}, "skipped: takes about 101 s, 100 s are left"),
        ("broken", {}, "failed: RuntimeError: no engine"),
        ("short", case(1.0), ""),
        ("cut", case(1.0), "cut: AssertionError: 2 of 9 in 100 s"),
    ]
