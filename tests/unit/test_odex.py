"""Tests of examples: from ODEX, by a join with CoNaLa, and from fields of a row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from models.core.errors import DatasetError, ExperimentError
from models.core.experiment.options import Dataset
from models.core.types import AnswerTests, Example
from producer.experiments.datasets import read_dataset
from producer.experiments.row_requirements import require_tests
from storage.schema import TEST, TRAIN
from tests.support.chores import write_jsonl
from tests.support.small_run import experiment

ROW: Mapping[str, Any] = {
    "task_id": 42, "prompt": "def f(l):\n\treturn ", "suffix": "", "canonical_solution": "max(l)",
    "test_start": "\ndef check(candidate):", "test": ["\n    assert candidate([1, 2]) == 2\n"],
    "entry_point": "f", "intent": "largest of list `l`", "library": [],
}  # fmt: skip
TESTS = AnswerTests(
    "\ndef check(candidate):\n    assert candidate([1, 2]) == 2\n", "f", "def f(l):\n\treturn ", ""
)


def read(folder: Path, **options: Any) -> list[Example]:
    dataset = Dataset.model_validate(
        {"path": str(folder), "train": "rows.jsonl", "test": "rows.jsonl"} | options
    )
    return list(read_dataset(experiment(dataset=dataset))[TRAIN])


def test_odex_as_a_dataset(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [dict(ROW)])
    [example] = read(tmp_path, loader="odex")
    assert example == Example(0, "42", "largest of list `l`", "max(l)", (), TESTS)


def test_examples_find_their_tests_by_question_and_request(tmp_path: Path) -> None:
    other = {**ROW, "canonical_solution": "sorted(l)[-1]", "prompt": "def f(l):\n\t# other\n\treturn "}
    write_jsonl(tmp_path / "odex.jsonl", [dict(ROW), other])
    rows = [
        {"id": "42-7", "request": "largest of  list `l`", "reference": "max(l)"},
        {"id": "42-8", "request": "largest of list `l`", "reference": "sorted(l)[-1]"},
        {"id": "42-9", "request": "largest of list `l`", "reference": "l[-1]"},
        {"id": "42-9", "request": "smallest of list `l`", "reference": "min(l)"},
        {"id": "43-7", "request": "largest of list `l`", "reference": "max(l)"},
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    prefixes = [example.tests and example.tests.prefix for example in read(tmp_path, tests="odex.jsonl")]
    assert prefixes == [ROW["prompt"], other["prompt"], ROW["prompt"], None, None]


def test_the_published_rows_find_each_other(reference_data: Path) -> None:
    dataset = Dataset.model_validate({
        "loader": "docprompting", "path": str(reference_data / "conala"),
        "train": "train.json", "test": "test_visible.json",
        "tests": ["../odex/en_train_side.jsonl", "../odex/en_test_visible.jsonl"],
    })  # fmt: skip
    splits = read_dataset(experiment(dataset=dataset))
    counts = {split: sum(example.tests is not None for example in rows) for split, rows in splits.items()}
    assert counts == {TRAIN: 307, TEST: 57}


def test_fields_of_a_row(tmp_path: Path) -> None:
    rows = [
        {"prompt": "add", "reference": "a + b", "test_list": ["assert f(1, 2) == 3", "assert f(0, 0) == 0"]},
        {"prompt": "add", "reference": "a + b", "test_list": "assert f(1, 2) == 3", "entry_point": "f"},
        {"prompt": "add", "reference": "a + b", "test_list": None},
        {"prompt": "add", "reference": "a + b"},
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    examples = read(tmp_path, fields={"request": "prompt", "tests": "test_list", "prefix": "head"})
    assert [example.tests for example in examples] == [
        AnswerTests("assert f(1, 2) == 3\nassert f(0, 0) == 0"),
        AnswerTests("assert f(1, 2) == 3", "f"),
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tests": [1]}, "'tests' must be code or a list of it"),
        ({"tests": {"a": 1}}, "'tests' must be code or a list of it"),
        ({"tests": "assert f()", "entry_point": 3}, "'tests' must be code or a list of it"),
    ],
)
def test_fields_that_cannot_be(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [{"request": "add", "reference": "a + b"} | change])
    with pytest.raises(DatasetError, match=rf"rows.jsonl:1: {says}"):
        read(tmp_path)


@pytest.mark.parametrize("change", [{"test": "assert"}, {"prompt": None}, {"test": [1]}])
def test_rows_that_are_not_of_odex(tmp_path: Path, change: dict[str, Any]) -> None:
    write_jsonl(tmp_path / "odex.jsonl", [dict(ROW), {**ROW, **change}])
    write_jsonl(tmp_path / "rows.jsonl", [{"request": "add", "reference": "a + b"}])
    with pytest.raises(DatasetError, match=r"odex.jsonl:2: is no ODEX row"):
        read(tmp_path, tests=["odex.jsonl"])
    with pytest.raises(DatasetError, match=r"other.jsonl: no such file"):
        read(tmp_path, tests=["other.jsonl"])


def test_execution_needs_tests() -> None:
    plain, tested = Example(0, "q", "sort", "sorted(l)"), Example(0, "q", "sort", "sorted(l)", (), TESTS)
    judging = experiment(judge={"execution": True})
    teaching = experiment(rationale={"correctness": "execution"})
    require_tests(experiment(), {TRAIN: [plain], TEST: [plain]})
    require_tests(judging, {TRAIN: [plain], TEST: [plain, tested]})
    with pytest.raises(ExperimentError, match=r"no test row has tests, and judge.execution needs them"):
        require_tests(judging, {TRAIN: [tested], TEST: [plain]})
    with pytest.raises(ExperimentError, match=r"no train row has tests, and rationale.correctness execution"):
        require_tests(teaching, {TRAIN: [plain], TEST: [tested]})
    assert json.loads(json.dumps(judging.model_dump()))["judge"]["limits"]["memory_mb"] == 1024
