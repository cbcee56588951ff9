"""Texts of JSONL rows, and what is wrong where they are not there.

Right answers that stand in a file of their own.

What a file of rationales holds: how many are right by each rule, and how the others fail.

Judging texts that stand in files, whoever wrote them.

Scores of `{"question_id", "prediction", "reference"}` lines.
"""

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
from models.core.metrics.scores import WIDTH, as_judged, intervals, row_stats, scores
from models.core.metrics.significance import Interval
from producer.experiments.datasets import json_rows
from storage.jsonl import read_objects


def text_field(path: Path, line: int, row: dict[str, Any], *names: str) -> str:
    """The text under the first of `names` that the row has. A null is an empty text: nothing was answered.

    Raises DatasetError.
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
    """The row's `question_id`, a text or a whole number. Raises DatasetError."""
    value = row.get("question_id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DatasetError(path, line, "needs a 'question_id', a text or a whole number")
    return str(value)


class References:
    """`{"question_id", "reference"}` lines, or a JSON array of DocPrompting's rows (`cmd`); of several
    references of an id the last counts. Raises DatasetError with file, line and reason."""

    def __init__(self, path: Path) -> None:
        self._path = path
        rows = json_rows(path) if path.suffix == ".json" else read_objects(path)
        self._of = {
            key_field(path, number, row): text_field(path, number, row, "reference", "cmd")
            for number, row in rows
        }

    def of(self, key: str, path: Path, line: int) -> str:
        """For the row with this id, which stands in `path`. Raises DatasetError."""
        if key not in self._of:
            raise DatasetError(path, line, f"question_id {key} has no reference in {self._path}")
        return self._of[key]


EXAMPLES = 3


@dataclass(slots=True)
class Audit:
    """`examples` holds the first few (question id, text) of each failure mode; of leaks, all ids are kept."""

    n: int = 0
    correct: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, key: str, text: str, request: str, reference: str) -> None:
        self.n += 1
        self.correct.update(rule for rule in RULES if is_correct(rule, text, reference))
        found = failure_modes(text, request)
        self.modes.update(found)
        if "hint_leak" in found:
            self.leaks.append(key)
        for mode in found:
            shown = self.examples.setdefault(mode, [])
            if len(shown) < EXAMPLES:
                shown.append((key, text))

    def counts(self) -> dict[str, Any]:
        """As `audit --json` prints them."""
        return {
            "n": self.n,
            "correct": {rule: self.correct[rule] for rule in RULES},
            "hint_leaks": self.modes["hint_leak"],
            "no_answer_sentence": self.modes["no_answer_sentence"],
            "failure_modes": {mode: self.modes[mode] for mode in FAILURE_MODES},
            "leaks": self.leaks,
        }


def audit_file(path: Path, reference: Path) -> Audit:
    """Reads `{"question_id", "rationale", "query"}` lines one by one; each row counts. `reference` is a file
    of References. Raises DatasetError with file, line and reason."""
    references = References(reference)
    found = Audit()
    for number, row in read_objects(path):
        key = key_field(path, number, row)
        right = references.of(key, path, number)
        text = text_field(path, number, row, "rationale", "text")
        asked = next((name for name in ("query", "request") if name in row), None)
        request = text_field(path, number, row, asked) if asked else ""
        found.add(key, text, request, right)
    if not found.n:
        raise DatasetError(path, None, "holds no rows")
    return found


# How predictions are compared with references.
Rules = Literal["paper", "strict"]


@dataclass(frozen=True, slots=True)
class FileScores:
    """Scores and 95 % intervals in percent, by name; `repeated` rows gave way to a later one of their id."""

    n: int
    repeated: int
    scores: dict[str, float]
    intervals: dict[str, Interval]


def score_file(
    path: Path, rules: Rules, references: References | None = None, *, with_intervals: bool = False
) -> FileScores:
    """Reads line by line, and keeps a few hundred bytes a row. Where an id repeats, its last row counts.
    Rows bring their own references, unless `references` are given.

    Raises DatasetError with file, line and reason.
    """
    # 4 bytes a number: no row has two thousand million n-grams.
    stats, places, read = array("i"), dict[str, int](), 0
    for number, row in read_objects(path):
        key = key_field(path, number, row)
        right = references.of(key, path, number) if references else text_field(path, number, row, "reference")
        pair = as_judged(rules, text_field(path, number, row, "prediction"), right)
        found = array("i", row_stats(*pair).tolist())
        place = places.setdefault(key, len(places)) * WIDTH
        stats[place : place + WIDTH] = found
        read += 1
    if not places:
        raise DatasetError(path, None, "holds no rows")
    table = np.frombuffer(stats, dtype=np.int32).reshape(-1, WIDTH)
    return FileScores(
        n=len(places),
        repeated=read - len(places),
        scores=scores(table),
        intervals=intervals(table) if with_intervals else {},
    )
