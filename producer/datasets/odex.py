"""ODEX (Wang et al. 2023): tests by execution for requests of CoNaLa.

A row opens a function (`prompt`), gives its body (`canonical_solution`) and end (`suffix`), and defines
`check` (`test_start` and the assertions of `test`), to be called with the function (`entry_point`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from models.errors import DatasetError
from models.types import AnswerTests, Example
from storage.jsonl import read_objects


def odex_tests(path: Path, line: int, row: dict[str, Any]) -> AnswerTests:
    """The tests of one row. Raises DatasetError."""
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


class OdexBook:
    """The tests of ODEX files, by Stack Overflow question and request."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known: dict[tuple[str, str], list[tuple[str, AnswerTests]]] = {}
        for path in paths:
            for line, row in read_objects(path):
                place = (str(row.get("task_id")), _words(str(row.get("intent"))))
                solution = str(row.get("canonical_solution"))
                self._known.setdefault(place, []).append((solution, odex_tests(path, line, row)))

    def of(self, example: Example) -> AnswerTests | None:
        """Where several rows ask the same, the tests of the one that is solved as the example is, or else
        of the first. CoNaLa numbers the requests of a question: `3844801-12`."""
        question = example.question_id.partition("-")[0]
        found = self._known.get((question, _words(example.request)), [])
        same = [tests for solution, tests in found if solution == example.reference]
        return next(iter([*same, *(tests for _, tests in found)]), None)


def _words(request: str) -> str:
    return " ".join(request.split())
