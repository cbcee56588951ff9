"""Scores of prediction files and audits of rationale files: JSON lines, whoever wrote them."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.core.answers.checks import FAILURE_MODES, failure_modes
from models.core.correctness import RULES, is_correct
from models.core.errors import DatasetError
from models.core.metrics.scores import WIDTH, comparable_texts, row_stats, scores
from models.core.metrics.seed_scores import intervals
from models.core.metrics.significance import Interval
from models.core.words import question_group
from producer.experiments.row_files import read_rows
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


KeyedRow = tuple[int, str, dict[str, Any]]


class References:
    """Reference answers from `{"question_id", "reference"}` lines, or a JSON array of DocPrompting's rows
    (`cmd`). Ids may repeat. Raises DatasetError with file, line and reason."""

    def __init__(self, path: Path) -> None:
        self._path = path
        rows = read_rows(path, file_format="json") if path.suffix == ".json" else read_objects(path)
        self._of_id: dict[str, list[str]] = {}
        for number, row in rows:
            answer = text_field(path, number, row, "reference", "cmd")
            self._of_id.setdefault(key_field(path, number, row), []).append(answer)

    def last(self, key: str, path: Path, line: int) -> str:
        """Return the last reference of an id, for a row on `line` of `path`. Raise DatasetError."""
        return self._listed(key, path, line)[-1]

    def by_row(self, path: Path) -> Iterator[tuple[KeyedRow, str]]:
        """Yield the rows of a file, each with its own reference: the last row of an id has the last one, the
        row before that the one before, and so on. Raise DatasetError if there are too few."""
        remaining = Counter(key for _, key, _ in keyed_rows(path)) if self._repeat else Counter[str]()
        for number, key, row in keyed_rows(path):
            answers = self._listed(key, path, number)
            remaining[key] -= 1
            later = remaining[key] if len(answers) > 1 else 0
            if later >= len(answers):
                problem = f"question_id {key} has {later + 1} rows from here on and {len(answers)} references"
                raise DatasetError(path, number, f"{problem} in {self._path}; write each row's own beside it")
            yield (number, key, row), answers[-1 - later]

    @property
    def _repeat(self) -> bool:
        return any(len(answers) > 1 for answers in self._of_id.values())

    def _listed(self, key: str, path: Path, line: int) -> list[str]:
        if key not in self._of_id:
            raise DatasetError(path, line, f"question_id {key} has no reference in {self._path}")
        return self._of_id[key]


def keyed_rows(path: Path) -> Iterator[KeyedRow]:
    """Yield the line, id and values of each row, or raise DatasetError."""
    for number, row in read_objects(path):
        yield number, key_field(path, number, row), row


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
    audit = Audit()
    for (number, key, row), right in References(reference).by_row(path):
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
    """Scores and 95 % intervals in percent, by name. `repeated` rows share an id with a later row and are not
    among the `n` that count, which are of so many `questions`. Intervals keep those of one together."""

    n: int
    questions: int
    repeated: int
    scores: dict[str, float]
    intervals: dict[str, Interval]


@dataclass(frozen=True, slots=True)
class FileStats:
    """The stats of the rows of a file that count, shape [rows, WIDTH], by id and number of earlier rows with
    that id, with a hash of what each was compared with. `repeated` rows share an id with a later row and do
    not count."""

    rows: Mapping[tuple[str, int], int]
    table: NDArray[np.int32]
    references: Sequence[int]
    repeated: int

    def scores(self, *, with_intervals: bool = False) -> FileScores:
        questions = [question_group(key) for key, _ in self.rows]
        bounds = intervals(self.table, clusters=questions) if with_intervals else {}
        number = len(set(questions))
        return FileScores(len(self.rows), number, self.repeated, scores(self.table), bounds)


def read_stats(path: Path, rules: Rules, references: References | None = None) -> FileStats:
    """Read `{"question_id", "prediction", "reference"}` lines; `references` replace those of the rows.

    Each row counts by the rules `strict`, and the last row of an id by those of the paper. Memory takes a few
    hundred bytes per row. Raise DatasetError with file, line and reason.
    """
    # 4 bytes a number: no row has two thousand million n-grams.
    stats, rows, read = array("i"), dict[tuple[str, int], int](), Counter[str]()
    hashes = array("q")
    for (number, key, row), right in _with_references(path, rules, references):
        pair = comparable_texts(rules, text_field(path, number, row, "prediction"), right)
        at = rows.setdefault((key, 0 if rules == "paper" else read[key]), len(rows))
        stats[at * WIDTH : (at + 1) * WIDTH] = array("i", row_stats(*pair).tolist())
        hashes[at : at + 1] = array("q", [hash(pair[1])])
        read[key] += 1
    if not rows:
        raise DatasetError(path, None, "holds no rows")
    table = np.frombuffer(stats, dtype=np.int32).reshape(-1, WIDTH)
    return FileStats(rows, table, hashes, read.total() - len(rows))


def _with_references(
    path: Path, rules: Rules, references: References | None
) -> Iterator[tuple[KeyedRow, str]]:
    if references and rules == "strict":
        yield from references.by_row(path)
        return
    for number, key, row in keyed_rows(path):
        right = (
            references.last(key, path, number) if references else text_field(path, number, row, "reference")
        )
        yield (number, key, row), right
