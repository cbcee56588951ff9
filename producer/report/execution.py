"""What answers are worth when they are executed: pass@k of each cell, and of the references themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.ablation import cells
from models.metrics import bootstrap, pass_at_k
from producer.report.tables import Measure
from storage.database import Database
from storage.ledger.planning import Run
from storage.ledger.rows import rows
from storage.schema import TEST

UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class CellExecution:
    """`pass_at` maps k to the mean over `n` rows; `outcomes` counts all their verdicts."""

    variant: str
    n: int
    pass_at: dict[int, Measure]
    outcomes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Execution:
    """Of `examples` test rows `tested` have tests that can be run here: `unavailable` ones need what is not
    installed. Of the references of the `tested` the share `ceiling` (percent) passes: no student is
    expected to do better."""

    examples: int
    tested: int
    unavailable: int
    ceiling: float
    cells: tuple[CellExecution, ...]

    @property
    def measures(self) -> dict[str, dict[str, Measure]]:
        """pass@k as columns of the ablation table, by variant and name."""
        return {
            cell.variant: {f"pass@{k}": measure for k, measure in cell.pass_at.items()} for cell in self.cells
        }


@dataclass(slots=True)
class _Answers:
    passed: dict[int, list[bool]] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)


def read_execution(db: Database, run: Run) -> Execution | None:
    """None where the run does not execute answers."""
    if not run.experiment.judge.execution:
        return None
    examples: set[int] = set()
    references: dict[int, str] = {}
    answers = {cell.variant: _Answers() for cell in cells(run.experiment)}
    for row in rows(db, run.id, stages=("judge",), split=TEST):
        examples.add(row.example_id)
        if found := row.result.get("execution"):
            references[row.example_id] = row.result["reference_execution"]["outcome"]
            _count(answers[row.variant], row.example_id, found["outcome"])
    tested = {example for example, outcome in references.items() if outcome != UNAVAILABLE}
    gold = [references[example] == "passed" for example in tested]
    return Execution(
        examples=len(examples),
        tested=len(tested),
        unavailable=len(references) - len(tested),
        ceiling=100.0 * sum(gold) / len(gold) if gold else 0.0,
        cells=tuple(_cell(variant, found, tested) for variant, found in answers.items()),
    )


def sentences(found: Execution) -> list[str]:
    """As notes below the tables."""
    missing = f" ({found.unavailable:,} more need what is not installed)" if found.unavailable else ""
    return [
        f"Executed: {found.tested:,} of {found.examples:,} test rows have tests{missing}; "
        f"{found.ceiling:.1f} % of their references pass: the ceiling of pass@k, which counts these rows."
    ]


def _count(answers: _Answers, example: int, outcome: str) -> None:
    answers.passed.setdefault(example, []).append(outcome == "passed")
    answers.outcomes[outcome] = answers.outcomes.get(outcome, 0) + 1


def _cell(variant: str, answers: _Answers, tested: Iterable[int]) -> CellExecution:
    found = [answers.passed[example] for example in sorted(tested) if example in answers.passed]
    samples = min((len(passed) for passed in found), default=0)
    pass_at = {k: _measure(found, k) for k in sorted({1, samples}) if k <= samples}
    return CellExecution(variant, len(found), pass_at, dict(sorted(answers.outcomes.items())))


def _measure(found: list[list[bool]], k: int) -> Measure:
    of_rows = np.array([[pass_at_k(len(passed), sum(passed), k)] for passed in found])
    low, high = bootstrap(of_rows, lambda sums: sums[:, 0] / len(found), seed=0)
    return Measure(float(of_rows.mean()), low, high)


def as_document(found: Execution) -> dict[str, Any]:
    """For the report as JSON."""
    return {
        "examples": found.examples,
        "tested": found.tested,
        "unavailable": found.unavailable,
        "ceiling": round(found.ceiling, 4),
        "cells": [
            {
                "variant": cell.variant,
                "n": cell.n,
                "outcomes": cell.outcomes,
                **{
                    f"pass@{k}": {"value": measure.value, "low": measure.low, "high": measure.high}
                    for k, measure in cell.pass_at.items()
                },
            }
            for cell in found.cells
        ],
    }
