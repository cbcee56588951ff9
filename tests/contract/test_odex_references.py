"""The references of ODEX, made into programs and run in the sandbox, meet their own tests."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.adapters.sandbox.runner import Sandbox
from models.core.errors import ServiceError
from models.core.programs import ProgramLimits, build_program
from producer.experiments.datasets import odex_tests
from storage.jsonl import read_objects

FILES = ("en_train_side.jsonl", "en_test_visible.jsonl")


@pytest.mark.parametrize("step", [8, pytest.param(1, marks=[pytest.mark.marathon, pytest.mark.timeout(900)])])
def test_references_pass(reference_data: Path, step: int) -> None:
    """Every `step`-th row; those whose modules are installed count."""
    sandbox = Sandbox(ProgramLimits())
    try:
        sandbox.check()
    except ServiceError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    paths = [reference_data / "odex" / name for name in FILES]
    rows = [(path, line, row) for path in paths for line, row in read_objects(path)]
    programs = [
        build_program(row["canonical_solution"], odex_tests(path, line, row))
        for path, line, row in rows[::step]
    ]
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(sandbox.run, programs))
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    runnable = len(programs) - outcomes["unavailable"]
    assert outcomes["passed"] >= 0.95 * runnable, [
        (verdict.outcome, verdict.detail, made.answer)
        for verdict, made in zip(verdicts, programs, strict=True)
        if verdict.outcome != "passed"
    ]
