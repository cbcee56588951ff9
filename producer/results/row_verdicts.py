"""What of a run was right, cell by cell and row by row, without the texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.core.metrics.scores import row_stats
from producer.results.synthetic_set import synthetic_examples
from storage.database import Database
from storage.ledger.queries import ResultRow, rows
from storage.ledger.runs import Run
from storage.schema import TEST, TRAIN

FIRST_PASS, LAST_PASS = "first pass", "after all passes"


class CellVerdicts(NamedTuple):
    """A stage, and a variant of it: what is compared between runs."""

    split: str
    stage: str
    variant: str


class RowKey(NamedTuple):
    """A row of a dataset: its place and what stands there, hashed. Ids are not unique."""

    row: int
    content: int


@dataclass(slots=True)
class RowVerdict:
    """Of `answers` of a row, `right` ones are right; `stats` is the sum of theirs, shape [WIDTH], None where
    no scores are taken. `example` is the row's number in the ledger."""

    example: int
    question_id: str
    answers: int = 0
    right: int = 0
    stats: NDArray[np.int64] | None = None

    def add(self, right: bool, stats: NDArray[np.int64] | None = None) -> None:
        self.answers += 1
        self.right += right
        if stats is not None:
            self.stats = stats if self.stats is None else self.stats + stats


Verdicts = dict[CellVerdicts, dict[RowKey, RowVerdict]]


def read_verdicts(db: Database, run: Run) -> Verdicts:
    """Rationales after the first pass and after all; answers of students by variant, all seeds together.

    An answer is right where the tests of its row pass; where there are none that can be run, by the run's own
    rule; without one, where it is the reference."""
    found: Verdicts = {}
    for example in synthetic_examples(db, run):
        if example.tried:
            first, final = example.tried[0], example.final
            if first.stage == "rationale":
                _verdict(found, CellVerdicts(TRAIN, "rationale", FIRST_PASS), first).add(
                    bool(first.result["correct"])
                )
            if final and run.experiment.rationale.passes:
                _verdict(found, CellVerdicts(TRAIN, "rationalize", LAST_PASS), final).add(
                    bool(final.result["correct"])
                )
    for unit in rows(db, run.id, stages=("judge",), split=TEST):
        stats = row_stats(unit.result.get("prediction") or "", unit.reference)
        _verdict(found, CellVerdicts(TEST, "answer", unit.variant), unit).add(_right(unit), stats)
    return found


def _verdict(found: Verdicts, cell: CellVerdicts, unit: ResultRow) -> RowVerdict:
    key = RowKey(unit.number, hash((unit.question_id, unit.request, unit.reference)))
    return found.setdefault(cell, {}).setdefault(key, RowVerdict(unit.example_id, unit.question_id))


def _right(judge: ResultRow) -> bool:
    outcome = (judge.result.get("execution") or {}).get("outcome", "unavailable")
    if outcome != "unavailable":
        return bool(outcome == "passed")
    return bool(judge.result.get("correct", judge.result.get("exact_match")))
