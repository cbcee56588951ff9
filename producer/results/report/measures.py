"""What answers are worth when they are executed: pass@k of each cell, and of the references themselves.

How good the documentation was that students were shown, where the dataset knows which is right.

What each stage bought: calls, tokens, dollars, and how long a call took.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.core.experiment.passages import Passages
from models.core.metrics.scores import pass_at_k
from models.core.metrics.significance import bootstrap
from models.core.pipeline.grid import Cell, Searches, cells
from models.core.pipeline.stages import STAGES
from models.core.retrieval.passage_selection import CHARACTERS_PER_TOKEN, hits_of, line, present, select
from models.core.types import Hit
from producer.results.report.ablation_table import Measure
from storage.database import Database
from storage.ledger import counts
from storage.ledger.queries import rows
from storage.ledger.runs import Run
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


@dataclass(frozen=True, slots=True)
class RetrievalQuality:
    """Of one way to retrieve, over the test `rows` whose right passages are known: `right` of the `shown`
    passages are among them, and `missed` rows are shown none of them. `tokens` is what a row is shown on
    average, a token counted as four characters."""

    retrieval: str
    augment_test: bool
    rows: int
    shown: int
    right: int
    missed: int
    tokens: float

    @property
    def precision(self) -> float | None:
        """Percent; None where nothing is shown."""
        return 100 * self.right / self.shown if self.shown else None

    @property
    def miss_rate(self) -> float:
        """Percent of the rows."""
        return 100 * self.missed / self.rows


def retrieval_qualities(db: Database, run: Run) -> tuple[RetrievalQuality, ...]:
    """In the order of the grid, counted from what was recorded; empty where no right passage is known."""
    searches = Searches.read(run.experiment.passages)
    tallies = [
        _RetrievalTally(cell, searches.choices[cell.retrieval]) for cell in _ways(cells(run.experiment))
    ]
    of_unit: dict[str, list[_RetrievalTally]] = defaultdict(list)
    for tally in tallies:
        of_unit[searches.variant(tally.cell.query, tally.cell.retrieval)].append(tally)
    for unit in rows(db, run.id, stages=("retrieve",), split=TEST):
        if unit.oracle and unit.variant in of_unit:
            hits = hits_of(unit.result["passages"])
            for tally in of_unit[unit.variant]:
                tally.add(hits, unit.oracle)
    return tuple(tally.quality() for tally in tallies if tally.rows)


def _ways(grid: Sequence[Cell]) -> list[Cell]:
    """A cell for each retrieval and wording, in the order of the grid."""
    first: dict[tuple[str, bool], Cell] = {}
    for cell in grid:
        if cell.retrieval:
            first.setdefault((cell.retrieval, cell.augment_test), cell)
    return list(first.values())


@dataclass(slots=True)
class _RetrievalTally:
    cell: Cell
    config: Passages
    rows: int = 0
    shown: int = 0
    right: int = 0
    missed: int = 0
    characters: int = 0

    def add(self, hits: Sequence[Hit], oracle: Sequence[str]) -> None:
        chosen = [hit.passage for hit in select(hits, self.config)]
        right = sum(passage.id in oracle for passage in chosen)
        self.rows += 1
        self.shown += len(chosen)
        self.right += right
        self.missed += not right
        self.characters += sum(len(line(passage)) for passage in present(chosen, self.config))

    def quality(self) -> RetrievalQuality:
        tokens = self.characters / CHARACTERS_PER_TOKEN / self.rows
        return RetrievalQuality(
            self.cell.retrieval_word, self.cell.augment_test, self.rows, self.shown, self.right, self.missed,
            tokens,
        )  # fmt: skip


QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True, slots=True)
class StageSpending:
    """`latency` maps QUANTILES to seconds of a call; empty where none was recorded."""

    stage: str
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    dollars: float
    latency: dict[str, float]


def stage_spending(db: Database, run_id: str) -> tuple[StageSpending, ...]:
    """Stages that bought something, in their order."""
    spent, seconds = counts.spending_by_stage(db, run_id), counts.latencies(db, run_id)
    found = []
    for stage in STAGES:
        if paid := spent.get(stage):
            taken = seconds.get(stage)
            latency = np.quantile(taken, [*QUANTILES.values()]).tolist() if taken else []
            found.append(
                StageSpending(
                    stage, paid.calls, paid.usage.prompt, paid.usage.cached, paid.usage.completion,
                    paid.dollars, dict(zip(QUANTILES, latency, strict=False)),
                )
            )  # fmt: skip
    return tuple(found)
