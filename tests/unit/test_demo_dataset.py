from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import producer.experiments
from producer.corpus.installed import read_installed
from producer.experiments.load import load_experiment

DEMO = Path(next(iter(producer.experiments.__path__))) / "demo"


def rows(split: str) -> list[dict[str, Any]]:
    text = (DEMO / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


TRAIN, TEST = rows("train"), rows("test")

# Runs a row read from standard input in an interpreter of its own, since rows change the environment
# and the working directory. `_` is the value of the reference where it is an expression.
RUN_ROW = """
import json, sys
row = json.load(sys.stdin)
state = {}
exec(row["setup"], state)
try:
    code = compile(row["reference"], "reference", "eval")
except SyntaxError:
    exec(row["reference"], state)
else:
    state["_"] = eval(code, state)
sys.exit(0 if eval(row["check"], state) is True else 1)
"""


def holds(row: dict[str, Any], directory: Path) -> bool:
    done = subprocess.run(
        [sys.executable, "-I", "-c", RUN_ROW],
        input=json.dumps(row),
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.returncode == 0


def test_there_are_enough_rows_to_run_the_demo() -> None:
    assert len(TRAIN) >= 60
    assert len(TEST) >= 30


def test_every_row_has_the_same_keys() -> None:
    assert {tuple(row) for row in TRAIN + TEST} == {
        ("id", "request", "reference", "oracle", "setup", "check")
    }


def test_the_right_passages_are_in_the_index() -> None:
    known = {passage.id for passage in read_installed(["stdlib"])}
    named = {name for row in TRAIN + TEST for name in row["oracle"]}
    assert named <= known
    # Constants have no documentation of their own.
    assert [row["reference"] for row in TRAIN + TEST if not row["oracle"]] == ["string.ascii_lowercase"]


def test_the_demo_searches_the_modules_of_its_own_rows() -> None:
    demo = load_experiment("demo")
    assert demo.passages
    assert demo.dataset
    assert demo.dataset.test
    known = {passage.id for passage in read_installed(demo.passages.packages)}
    shown = [*TRAIN[: demo.dataset.train.limit], *TEST[: demo.dataset.test.limit]]
    assert {name for row in shown for name in row["oracle"]} <= known


def test_ids_are_unique() -> None:
    counted = Counter(row["id"] for row in TRAIN + TEST)
    assert [name for name, times in counted.items() if times > 1] == []


@pytest.mark.parametrize("key", ["request", "reference"])
def test_no_test_row_is_in_train(key: str) -> None:
    assert {row[key] for row in TEST}.isdisjoint(row[key] for row in TRAIN)


@pytest.mark.parametrize("row", TRAIN + TEST, ids=lambda row: row["id"])
def test_the_reference_is_one_line_that_passes_its_check(row: dict[str, Any], tmp_path: Path) -> None:
    assert len(row["reference"].splitlines()) == 1
    assert len(ast.parse(row["reference"]).body) == 1
    assert holds(row, tmp_path)


@pytest.mark.parametrize("row", TRAIN + TEST, ids=lambda row: row["id"])
def test_the_check_fails_for_code_that_does_nothing(row: dict[str, Any], tmp_path: Path) -> None:
    assert not holds(row | {"reference": "None"}, tmp_path)
