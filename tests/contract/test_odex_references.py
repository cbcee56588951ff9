"""The references of ODEX, made into programs and run in the sandbox, meet their own tests."""

from __future__ import annotations

import ast
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.adapters.sandbox.runner import Sandbox
from models.core.errors import ServiceError
from models.core.programs import Program, ProgramLimits, build_program
from models.core.types import AnswerTests
from producer.experiments.answer_tests import odex_tests
from storage.jsonl import read_objects

FILES = ("en_train_side.jsonl", "en_test_visible.jsonl")
STEPS = [8, pytest.param(1, marks=[pytest.mark.marathon, pytest.mark.timeout(900)])]


@pytest.mark.parametrize("step", STEPS)
def test_references_pass(reference_data: Path, step: int) -> None:
    """Every `step`-th row; those whose modules are installed count."""
    assert_pass([build_program(*pair) for pair in references(reference_data)[::step]])


@pytest.mark.parametrize("step", STEPS)
def test_references_pass_as_functions_with_a_name_of_their_own(reference_data: Path, step: int) -> None:
    """ODEX in other languages asks for a function that its own function returns: `return indexed`."""
    pairs = [named for pair in references(reference_data) if (named := as_named_function(*pair))]
    assert len(pairs) > 300
    assert_pass([build_program(*pair) for pair in pairs[::step]])


def references(data: Path) -> list[tuple[str, AnswerTests]]:
    paths = [data / "odex" / name for name in FILES]
    return [
        (row["canonical_solution"], odex_tests(path, line, row))
        for path in paths
        for line, row in read_objects(path)
    ]


def as_named_function(answer: str, tests: AnswerTests) -> tuple[str, AnswerTests] | None:
    """Return a reference that is an expression as a function, and tests that fetch it; None for others."""
    prefix, opens = tests.prefix.rstrip(), "def check(candidate):"
    if not prefix.endswith("return") or opens not in tests.code:
        return None
    function = ast.parse(f"{prefix} 0").body[-1]
    assert isinstance(function, ast.FunctionDef)
    arguments = ast.unparse(function.args)
    code = tests.code.replace(opens, f"{opens}\n    candidate = candidate()", 1)
    named = AnswerTests(code, tests.entry_point, f"def {function.name}():\n", "\n    return indexed")
    return f"def indexed({arguments}):\n    return ({answer.strip()}\n    )", named


def assert_pass(programs: Sequence[Program]) -> None:
    sandbox = Sandbox(ProgramLimits())
    try:
        sandbox.check()
    except ServiceError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(sandbox.run, programs))
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    runnable = len(programs) - outcomes["unavailable"]
    assert outcomes["passed"] >= 0.95 * runnable, [
        (verdict.outcome, verdict.detail, made.answer)
        for verdict, made in zip(verdicts, programs, strict=True)
        if verdict.outcome != "passed"
    ]
