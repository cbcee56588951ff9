"""Read examples from files: DocPrompting's JSON, ODEX, or any JSONL with a field map.

ODEX (Wang et al. 2023) has tests by execution for requests of CoNaLa. Its row opens a function (`prompt`),
gives its body (`canonical_solution`) and end (`suffix`), and defines `check` (`test_start` and the assertions
of `test`), which is called with the function (`entry_point`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from models.core.errors import DatasetError, ExperimentError, UsageError
from models.core.experiment.experiment import Experiment
from models.core.experiment.options import Dataset, Fields, Split
from models.core.experiment.passages import BASE
from models.core.types import AnswerTests, Example
from storage.jsonl import read_json, read_objects
from storage.schema import TEST, TRAIN


def odex_tests(path: Path, line: int, row: dict[str, Any]) -> AnswerTests:
    """Return the tests of one ODEX row. Raise DatasetError."""
    texts = {}
    for name in ("test_start", "entry_point", "prompt", "suffix"):
        value = row.get(name)
        if not isinstance(value, str):
            raise DatasetError(path, line, f"is no ODEX row: {name!r} must be a text")
        texts[name] = value
    tests = row.get("test")
    if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
        raise DatasetError(path, line, "is no ODEX row: 'test' must be a list of texts")
    code = texts["test_start"] + "".join(tests)
    return AnswerTests(code, texts["entry_point"], texts["prompt"], texts["suffix"])


class OdexTests:
    """The tests of ODEX files, by Stack Overflow question and request."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known: dict[tuple[str, str], list[tuple[str, AnswerTests]]] = {}
        for path in paths:
            for line, row in read_objects(path):
                key = (str(row.get("task_id")), _words(str(row.get("intent"))))
                solution = str(row.get("canonical_solution"))
                self._known.setdefault(key, []).append((solution, odex_tests(path, line, row)))

    def find(self, example: Example) -> AnswerTests | None:
        """Return the tests of the row with the same request; of several, one with the same solution first.

        CoNaLa numbers the requests of a question: `3844801-12`.
        """
        question = example.question_id.partition("-")[0]
        known = self._known.get((question, _words(example.request)), [])
        return min(known, key=lambda row: row[0] != example.reference, default=(None, None))[1]


def _words(request: str) -> str:
    return " ".join(request.split())


DOCPROMPTING = Fields(request="nl", reference="cmd", id="question_id", oracle="oracle_man")
ODEX = Fields(request="intent", reference="canonical_solution", id="task_id")


def read_dataset(dataset: Dataset) -> dict[str, Iterable[Example]]:
    """Return the examples by split. Each iteration reads the file: memory does not grow with the rows.

    Raise DatasetError with file, line and reason; for a row, when it is reached.
    """
    folder = Path(dataset.path)
    if not folder.is_dir():
        raise DatasetError(folder, None, "no such folder; set dataset.path to the folder of the data")
    tests = OdexTests(folder / name for name in dataset.tests)
    return {
        TRAIN: DatasetRows(dataset, dataset.train, tests),
        TEST: DatasetRows(dataset, dataset.test, tests),
    }


def require_tests(experiment: Experiment, splits: Mapping[str, Iterable[Example]]) -> None:
    """Raise ExperimentError if answers are to be executed and no row of the split has tests."""
    needs = {
        TRAIN: "rationale.correctness execution" if experiment.rationale.correctness == "execution" else "",
        TEST: "judge.execution" if experiment.judge.execution else "",
    }
    for split, setting in needs.items():
        if setting and not any(example.tests for example in splits[split]):
            problem = f"no {split} row has tests, and {setting} needs them; name ODEX files here"
            raise ExperimentError(experiment.name, "dataset.tests", f"{problem}, or map dataset.fields.tests")


def check_right_passages(experiment: Experiment, splits: Mapping[str, Iterable[Example]]) -> None:
    """Raise UsageError if right passages are to be shown and no row names any."""
    passages = experiment.passages
    names = [BASE, *(name for name in experiment.grid.retrieval if isinstance(name, str))]
    shown = [name for name in names if passages.named(name).control == "oracle"]
    if shown and not any(example.oracle for rows in splits.values() for example in rows):
        key = "passages" if shown[0] == BASE else f"passages.alternatives.{shown[0]}"
        raise UsageError(
            f"{key}.control: oracle shows the right passages of a row, and no row names any; name the key "
            "that holds their ids in dataset.fields.oracle, or take another control"
        )


class DatasetRows(Iterable[Example]):
    """The examples of one split, in the order of its file."""

    def __init__(self, dataset: Dataset, split: Split, tests: OdexTests) -> None:
        self._dataset = dataset
        self._tests = tests
        self._path = Path(dataset.path) / split.file
        self._limit = min((given for given in (split.limit, dataset.limit) if given), default=None)

    def __iter__(self) -> Iterator[Example]:
        if self._dataset.loader == "docprompting":
            rows, fields = json_rows(self._path), DOCPROMPTING
        elif self._dataset.loader == "odex":
            rows, fields = read_objects(self._path), ODEX
        else:
            rows, fields = read_objects(self._path), self._dataset.fields
        examples = _examples(self._path, rows, fields)
        first = next(examples, None)
        if first is None:
            raise DatasetError(self._path, None, "holds no examples")
        for example in islice(chain([first], examples), self._limit):
            tests = example.tests or self._tests.find(example)
            yield replace(example, tests=tests) if tests else example


def _examples(path: Path, rows: Iterable[tuple[int, dict[str, Any]]], fields: Fields) -> Iterator[Example]:
    for row, (line, values) in enumerate(rows):
        request = _text(path, line, values, fields.request)
        reference = _text(path, line, values, fields.reference)
        oracle = values.get(fields.oracle) or []
        if not isinstance(oracle, list):
            raise DatasetError(path, line, f"{fields.oracle!r} must be a list of passage ids")
        name = values.get(fields.id)
        question_id = _storable(str(row if name is None else name))
        yield Example(
            row, question_id, request, reference, tuple(_storable(str(passage)) for passage in oracle),
            odex_tests(path, line, values) if fields is ODEX else _tests(path, line, values, fields),
            has_id=name is not None,
        )  # fmt: skip


def _tests(path: Path, line: int, values: dict[str, Any], fields: Fields) -> AnswerTests | None:
    code = values.get(fields.tests)
    if isinstance(code, list) and all(isinstance(part, str) for part in code):
        code = "\n".join(code)
    if code is None or code == "":
        return None
    parts = [values.get(name) or "" for name in (fields.entry_point, fields.prefix, fields.suffix)]
    if not all(isinstance(part, str) for part in (code, *parts)):
        raise DatasetError(
            path, line, f"{fields.tests!r} must be code or a list of it, and what belongs to it text"
        )
    return AnswerTests(*(_storable(part) for part in (code, *parts)))


def _text(path: Path, line: int, values: dict[str, Any], field: str) -> str:
    if field not in values:
        raise DatasetError(path, line, f"has no {field!r}; map the names with dataset.fields")
    value = values[field]
    text = _storable(value) if isinstance(value, str) else ""
    if not text.strip():
        raise DatasetError(path, line, f"{field!r} must be a text that is not empty")
    return text


def _storable(text: str) -> str:
    """Remove null characters and lone surrogates, which no database stores."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a JSON array, numbered from 1 in place of their line. Raise DatasetError."""
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DatasetError(path, None, "must be a JSON array of rows")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DatasetError(path, None, f"row {number} must be an object, found {type(row).__name__}")
        yield number, row
