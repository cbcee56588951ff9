"""Tests that execute answers: those of a row, and those of ODEX.

ODEX (Wang et al. 2023) has tests by execution for requests of CoNaLa. Its row opens a function (`prompt`),
gives its body (`canonical_solution`) and end (`suffix`), and defines `check` (`test_start` and the assertions
of `test`), which is called with the function (`entry_point`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from models.core.errors import DatasetError
from models.core.experiment.options import Fields
from models.core.types import AnswerTests, Example
from producer.experiments.json_values import storable
from storage.jsonl import read_objects


def answer_tests(path: object, line: int, values: Mapping[str, Any], fields: Fields) -> AnswerTests | None:
    """Return the tests of a row, None if it has none. Raise DatasetError."""
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
    return AnswerTests(*(storable(part) for part in (code, *parts)))


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
