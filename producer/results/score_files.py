"""Scores of prediction files and audits of rationale files: JSON lines, whoever wrote them."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.core.answers.checks import FAILURE_MODES, failure_modes
from models.core.correctness import RULES, is_correct
from models.core.errors import DatasetError
from models.core.metrics.scores import WIDTH, comparable_texts, intervals, row_stats, scores
from models.core.metrics.significance import Interval
from producer.experiments.datasets import json_rows
from storage.jsonl import read_objects


def text_field(path: Path, line: int, row: dict[str, Any], *names: str) -> str:
    """Return the text under the first of `names` that the row has; null is an empty text: no answer.

    Raise DatasetError if there is none.
    """
    name = next((name for name in names if name in row), None)
    if name is None:
        raise DatasetError(path, line, f"has no {names[0]!r}; its keys are {', '.join(row) or 'none'}")
    value = row[name]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DatasetError(path, line, f"{name!r} must be a text, found {type(value).__name__}")
    return value


def key_field(path: Path, line: int, row: dict[str, Any]) -> str:
    """Return the row's `question_id`, a text or a whole number, or raise DatasetError."""
    value = row.get("question_id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DatasetError(path, line, "needs a 'question_id', a text or a whole number")
    return str(value)


class References:
    """Reference answers from `{"question_id", "reference"}` lines, or a JSON array of DocPrompting's rows
    (`cmd`). The last reference of an id counts. Raises DatasetError with file, line and reason."""

    def __init__(self, path: Path) -> None:
        self._path = path
        rows = json_rows(path) if path.suffix == ".json" else read_objects(path)
        self._by_id = {
            key_field(path, number, row): text_field(path, number, row, "reference", "cmd")
            for number, row in rows
        }

    def of(self, key: str, path: Path, line: int) -> str:
        """Return the reference for a row on `line` of `path`, or raise DatasetError."""
        if key not in self._by_id:
            raise DatasetError(path, line, f"question_id {key} has no reference in {self._path}")
        return self._by_id[key]


EXAMPLES = 3


@dataclass(slots=True)
class Audit:
    """Counts of a file of rationales: right ones by rule, failures by mode.

    `examples` holds the first few (question id, text) of each failure mode; `leaks` holds all ids.
    """

    n: int = 0
    correct: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, key: str, text: str, request: str, reference: str) -> None:
        self.n += 1
        self.correct.update(rule for rule in RULES if is_correct(rule, text, reference))
        modes = failure_modes(text, request)
        self.modes.update(modes)
        if "hint_leak" in modes:
            self.leaks.append(key)
        for mode in modes:
            shown = self.examples.setdefault(mode, [])
            if len(shown) < EXAMPLES:
                shown.append((key, text))

    def counts(self) -> dict[str, Any]:
        """Return the document of `audit --json`."""
        return {
            "n": self.n,
            "correct": {rule: self.correct[rule] for rule in RULES},
            "hint_leaks": self.modes["hint_leak"],
            "no_answer_sentence": self.modes["no_answer_sentence"],
            "failure_modes": {mode: self.modes[mode] for mode in FAILURE_MODES},
            "leaks": self.leaks,
        }


def audit_file(path: Path, reference: Path) -> Audit:
    """Audit `{"question_id", "rationale", "query"}` lines one by one; each row counts. `reference` is a file
    of References. Raise DatasetError with file, line and reason."""
    references = References(reference)
    audit = Audit()
    for number, row in read_objects(path):
        key = key_field(path, number, row)
        right = references.of(key, path, number)
        text = text_field(path, number, row, "rationale", "text")
        request_name = next((name for name in ("query", "request") if name in row), None)
        request = text_field(path, number, row, request_name) if request_name else ""
        audit.add(key, text, request, right)
    if not audit.n:
        raise DatasetError(path, None, "holds no rows")
    return audit


# How predictions are compared with references.
Rules = Literal["paper", "strict"]


@dataclass(frozen=True, slots=True)
class FileScores:
    """Scores and 95 % intervals in percent, by name. A later row of the same id replaced `repeated` rows."""

    n: int
    repeated: int
    scores: dict[str, float]
    intervals: dict[str, Interval]


def score_file(
    path: Path, rules: Rules, references: References | None = None, *, with_intervals: bool = False
) -> FileScores:
    """Score `{"question_id", "prediction", "reference"}` lines; `references` replace those of the rows.

    The last row of an id counts. Memory takes a few hundred bytes per row. Raise DatasetError with file, line
    and reason.
    """
    # 4 bytes a number: no row has two thousand million n-grams.
    stats, indices, read = array("i"), dict[str, int](), 0
    for number, row in read_objects(path):
        key = key_field(path, number, row)
        right = references.of(key, path, number) if references else text_field(path, number, row, "reference")
        pair = comparable_texts(rules, text_field(path, number, row, "prediction"), right)
        start = indices.setdefault(key, len(indices)) * WIDTH
        stats[start : start + WIDTH] = array("i", row_stats(*pair).tolist())
        read += 1
    if not indices:
        raise DatasetError(path, None, "holds no rows")
    table = np.frombuffer(stats, dtype=np.int32).reshape(-1, WIDTH)
    return FileScores(
        n=len(indices),
        repeated=read - len(indices),
        scores=scores(table),
        intervals=intervals(table) if with_intervals else {},
    )
