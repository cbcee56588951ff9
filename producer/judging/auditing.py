"""What a file of rationales holds: how many are right by each rule, and how the others fail."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.answers.failure_modes import FAILURE_MODES, failure_modes
from models.errors import DatasetError
from models.judges import RULES, correct
from producer.judging.fields import key_field, text_field
from producer.judging.references import References
from storage.jsonl import read_objects

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
        self.correct.update(rule for rule in RULES if correct(rule, text, reference))
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
