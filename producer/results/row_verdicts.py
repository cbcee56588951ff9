"""The verdicts of a run, cell by cell and row by row, without the texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.core.metrics.scores import row_stats
from producer.results.synthetic_set import synthetic_examples
from storage.database import Database
from storage.ledger.examples import earlier_rows_of_ids, equal_rows, question_labels
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
    """The verdicts on a row, by seed: `right` answers, and the stats of their scores, shape [WIDTH], which
    rationales do not have. `example` is the row's id in the ledger, `question` that of its question."""

    example: int
    question: str
    right: dict[int, bool] = field(default_factory=dict)
    stats: dict[int, NDArray[np.int64]] = field(default_factory=dict)


Verdicts = dict[CellVerdicts, dict[RowKey, RowVerdict]]


def read_verdicts(db: Database, run: Run) -> Verdicts:
    """Read rationales after the first pass and after all, and students' answers by variant, of all seeds."""
    verdicts: Verdicts = {}
    repeats = equal_rows(db, run.dataset)
    column = run.experiment.report.cluster
    questions = {split: question_labels(db, run.dataset, split, column) for split in (TRAIN, TEST)}

    def verdict_on(cell: CellVerdicts, unit: ResultRow) -> RowVerdict:
        key = RowKey(hash((unit.request, unit.reference)), repeats.get(unit.example_id, 0))
        new = RowVerdict(unit.example_id, questions[cell.split][unit.example_id])
        return verdicts.setdefault(cell, {}).setdefault(key, new)

    for example in synthetic_examples(db, run):
        if example.rationales:
            first, final = example.rationales[0], example.final
            if first.stage == "rationale":
                cell = CellVerdicts(TRAIN, "rationale", FIRST_PASS)
                verdict_on(cell, first).right[0] = bool(first.result["correct"])
            if final and run.experiment.rationale.passes:
                cell = CellVerdicts(TRAIN, "rationalize", LAST_PASS)
                verdict_on(cell, final).right[0] = bool(final.result["correct"])
    left_out = rows_left_out(db, run)
    for unit in iter_rows(db, run.id, stages=("judge",), split=TEST):
        if unit.example_id in left_out:
            continue
        verdict = verdict_on(CellVerdicts(TEST, "answer", unit.variant), unit)
        verdict.right[unit.sample] = is_right(unit)
        verdict.stats[unit.sample] = row_stats(unit.result.get("prediction") or "", unit.reference)
    return verdicts


def rows_left_out(db: Database, run: Run) -> frozenset[int]:
    """Return the test examples that have no score: a later one with the same id counts in their place."""
    if not run.experiment.last_of_id_counts:
        return frozenset()
    return earlier_rows_of_ids(db, run.dataset, TEST)


def is_right(judge: ResultRow) -> bool:
    """Judge by the row's tests if they ran, else by the run's rule, else by equality."""
    if outcome := execution_outcome(judge):
        return outcome == "passed"
    return bool(judge.result.get("correct", judge.result.get("exact_match")))


def execution_outcome(judge: ResultRow) -> str:
    """Return the outcome of the row's tests, empty if none could run."""
    outcome = str((judge.result.get("execution") or {}).get("outcome", UNAVAILABLE))
    return "" if outcome == UNAVAILABLE else outcome
