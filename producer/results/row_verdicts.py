"""The verdicts of a run, cell by cell and row by row, without the texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.core.metrics.scores import row_stats
from producer.results.synthetic_set import synthetic_examples
from storage.database import Database
from storage.ledger.examples import equal_rows
from storage.ledger.queries import ResultRow, iter_rows
from storage.ledger.runs import Run
from storage.schema import TEST, TRAIN

FIRST_PASS, LAST_PASS = "first pass", "after all passes"
# The outcome of tests that need what is not installed.
UNAVAILABLE = "unavailable"


class CellVerdicts(NamedTuple):
    """A stage and a variant of it, which runs are compared by."""

    split: str
    stage: str
    variant: str


class RowKey(NamedTuple):
    """A row of any dataset: the hash of its content, and the number of equal rows before it. Ids are not
    unique, and a row's place changes when others come."""

    content: int
    repeat: int


@dataclass(slots=True)
class RowVerdict:
    """The verdict on a row: `right` of its `answers` are right. `stats` sums their scores, shape [WIDTH], and
    is None without scores. `example` is the row's id in the ledger."""

    example: int
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
    """Read rationales after the first pass and after all, and students' answers by variant, of all seeds."""
    verdicts: Verdicts = {}
    repeats = equal_rows(db, run.dataset)

    def verdict_on(cell: CellVerdicts, unit: ResultRow) -> RowVerdict:
        key = RowKey(hash((unit.request, unit.reference)), repeats.get(unit.example_id, 0))
        return verdicts.setdefault(cell, {}).setdefault(key, RowVerdict(unit.example_id))

    for example in synthetic_examples(db, run):
        if example.rationales:
            first, final = example.rationales[0], example.final
            if first.stage == "rationale":
                cell = CellVerdicts(TRAIN, "rationale", FIRST_PASS)
                verdict_on(cell, first).add(bool(first.result["correct"]))
            if final and run.experiment.rationale.passes:
                cell = CellVerdicts(TRAIN, "rationalize", LAST_PASS)
                verdict_on(cell, final).add(bool(final.result["correct"]))
    for unit in iter_rows(db, run.id, stages=("judge",), split=TEST):
        stats = row_stats(unit.result.get("prediction") or "", unit.reference)
        verdict_on(CellVerdicts(TEST, "answer", unit.variant), unit).add(is_right(unit), stats)
    return verdicts


def is_right(judge: ResultRow) -> bool:
    """Judge by the row's tests if they ran, else by the run's rule, else by equality."""
    if outcome := execution_outcome(judge):
        return outcome == "passed"
    return bool(judge.result.get("correct", judge.result.get("exact_match")))


def execution_outcome(judge: ResultRow) -> str:
    """Return the outcome of the row's tests, empty if none could run."""
    outcome = str((judge.result.get("execution") or {}).get("outcome", UNAVAILABLE))
    return "" if outcome == UNAVAILABLE else outcome
