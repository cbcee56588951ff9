"""The user's own Python runs beside the worker."""

from __future__ import annotations

import os
import time

import pytest

from models.adapters.python_process import PythonProcesses
from models.core.errors import TaskFolderError

SOURCE = """
import os, sys, time

def double(row):
    print("printed by the user")
    return {"twice": 2 * row["n"], "word": row["word"]}

def fails(row):
    raise ValueError("no such unit")

def hangs(row):
    time.sleep(60)

def leaves(row):
    os._exit(3)

def returns_a_set(row):
    return {1, 2}

def returns_nan(row):
    return {"share": float("nan")}

def returns_much(row):
    return "x" * 16_000_000

def process(row):
    return [os.getpid(), sorted(name for name in os.environ if name.endswith("_KEY"))]
"""


@pytest.fixture
def processes() -> PythonProcesses:
    return PythonProcesses()


def test_function_gets_and_returns_json_and_may_print(processes: PythonProcesses) -> None:
    row = {"n": 21, "word": "naïve\ud800"}
    assert processes.call(SOURCE, "double", [row], 10) == {"twice": 42, "word": "naïve\ud800"}
    processes.close()


def test_one_process_serves_many_calls_and_has_no_keys(
    processes: PythonProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    first, keys = processes.call(SOURCE, "process", [{}], 10)
    assert processes.call(SOURCE, "process", [{}], 10) == [first, []]
    assert keys == []
    assert first != os.getpid()
    processes.close()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("fails", r"^task\.py:9: ValueError: no such unit$"),
        ("missing", r"^task\.py: has no function missing; define it, or name another$"),
        ("hangs", r"^task\.py: hangs took longer than 0\.5 seconds, or ended its process$"),
        ("leaves", r"^task\.py: leaves took longer than 0\.5 seconds, or ended its process$"),
        ("returns_a_set", r"^task\.py: returns_a_set returned what cannot be kept as JSON: "),
        ("returns_nan", r"^task\.py: returns_nan returned what cannot be kept as JSON: Out of range"),
    ],
)
def test_trouble_is_one_line_and_the_next_call_works(
    processes: PythonProcesses, function: str, message: str
) -> None:
    processes.call(SOURCE, "double", [{"n": 1, "word": ""}], 10)
    started = time.monotonic()
    with pytest.raises(TaskFolderError, match=message):
        processes.call(SOURCE, function, [{}], 0.5)
    assert time.monotonic() - started < 20
    assert processes.call(SOURCE, "double", [{"n": 2, "word": "a"}], 10)["twice"] == 4
    processes.close()


def test_more_than_is_kept_is_told_with_its_length(processes: PythonProcesses) -> None:
    with pytest.raises(TaskFolderError, match=r"returns_much returned what .* 16,000,013 characters, more "):
        processes.call(SOURCE, "returns_much", [{}], 60)
    processes.close()


def test_source_that_is_no_python_is_refused_with_its_line(processes: PythonProcesses) -> None:
    with pytest.raises(TaskFolderError, match=r"^task\.py:2: is no Python: "):
        processes.call("x = 1\nthis is not\n", "f", [], 10)
    processes.close()
