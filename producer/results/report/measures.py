"""Measures beside the scores: pass@k of executed answers, quality of retrieval, and spending by stage."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.core.experiment.passages import Passages
from models.core.metrics.scores import mean_pass_at_k, pass_interval
from models.core.pipeline.grid import Cell, Searches, cells, prompted_cells
from models.core.pipeline.plan import stage_names
from models.core.retrieval.passage_selection import (
    CHARACTERS_PER_TOKEN,
    format_passages,
    hits_from_records,
    passage_line,
    shown_hits,
)
from models.core.types import Hit
from producer.results.report.ablation_table import Measure
from producer.results.row_verdicts import UNAVAILABLE, rows_left_out
from storage.database import Database
from storage.ledger import counts
from storage.ledger.examples import question_labels
from storage.ledger.queries import iter_rows
from storage.ledger.runs import Run
from storage.schema import DONE, FINAL, TEST


@dataclass(frozen=True, slots=True)
class CellExecution:
    """`pass_at` maps k to the mean over `n` rows; `outcomes` counts all their verdicts. `with_failed` counts
    failed answers to tested rows as wrong, and is empty if none failed."""

    variant: str
    n: int
    pass_at: dict[int, Measure]
    outcomes: dict[str, int]
    with_failed: dict[int, Measure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Execution:
    """`tested` of the `examples` have tests that can run here; `unavailable` ones need a package that is not
    installed. `ceiling` percent of the references of tested rows pass: no student should do better."""

    examples: int
    tested: int
    unavailable: int
    ceiling: float
    cells: tuple[CellExecution, ...]

    @property
    def measures(self) -> dict[str, dict[str, Measure]]:
        """The columns pass@k of the ablation table, by variant and name."""
        return {cell.variant: _columns(cell.pass_at) for cell in self.cells}

    @property
    def measures_with_failed(self) -> dict[str, dict[str, Measure]]:
        """The same of cells with failed answers, which count as wrong."""
        return {cell.variant: _columns(cell.with_failed) for cell in self.cells}


def _columns(pass_at: Mapping[int, Measure]) -> dict[str, Measure]:
    return {f"pass@{k}": measure for k, measure in pass_at.items()}


@dataclass(slots=True)
class _Answers:
    passed: defaultdict[int, list[bool]] = field(default_factory=lambda: defaultdict(list))
    failed: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, example: int, outcome: str) -> None:
        self.passed[example].append(outcome == "passed")
        self.outcomes[outcome] += 1

    def with_failed(self, tested: Collection[int]) -> dict[int, list[bool]]:
        """Return what passed by example with failed answers to tested rows, or nothing if none failed."""
        failed = {example: count for example, count in self.failed.items() if example in tested}
        rows = self.passed.keys() | failed.keys() if failed else ()
        return {row: self.passed.get(row, []) + [False] * failed.get(row, 0) for row in rows}


def read_execution(db: Database, run: Run) -> Execution | None:
    """Return None if the run does not execute answers."""
    if not run.experiment.judge.execution:
        return None
    examples: set[int] = set()
    references: dict[int, str] = {}
    answers = {cell.name: _Answers() for cell in cells(run.experiment)}
    left_out = rows_left_out(db, run)
    for row in iter_rows(db, run.id, stages=("judge",), states=FINAL, split=TEST):
        if row.example_id in left_out:
            continue
        if row.state != DONE:
            answers[row.variant].failed[row.example_id] += 1
            continue
        examples.add(row.example_id)
        if executed := row.result.get("execution"):
            references[row.example_id] = row.result["reference_execution"]["outcome"]
            answers[row.variant].add(row.example_id, executed["outcome"])
    tested = {example for example, outcome in references.items() if outcome != UNAVAILABLE}
    questions = question_labels(db, run.dataset, TEST, run.experiment.report.cluster)
    gold = [references[example] == "passed" for example in tested]
    return Execution(
        examples=len(examples),
        tested=len(tested),
        unavailable=len(references) - len(tested),
        ceiling=100.0 * sum(gold) / len(gold) if gold else 0.0,
        cells=tuple(_cell(variant, given, tested, questions) for variant, given in answers.items()),
    )


def execution_notes(execution: Execution) -> list[str]:
    missing = f" ({execution.unavailable:,} more need what is not installed)" if execution.unavailable else ""
    return [
        f"Executed: {execution.tested:,} of {execution.examples:,} test rows have tests{missing}; "
        f"{execution.ceiling:.1f} % of their references pass: the ceiling of pass@k, which counts these rows."
    ]


def _cell(
    variant: str, answers: _Answers, tested: Collection[int], questions: Mapping[int, str]
) -> CellExecution:
    pass_at = _pass_at(answers.passed, tested, questions)
    with_failed = _pass_at(answers.with_failed(tested), tested, questions)
    n = len(answers.passed.keys() & tested)
    return CellExecution(variant, n, pass_at, dict(sorted(answers.outcomes.items())), with_failed)


def _pass_at(
    passed: Mapping[int, list[bool]], tested: Collection[int], questions: Mapping[int, str]
) -> dict[int, Measure]:
    """Return pass@k of tested rows for k of 1 and for all samples, with rows of a question kept together."""
    examples = [example for example in sorted(tested) if example in passed]
    rows = [(len(passed[example]), sum(passed[example])) for example in examples]
    clusters = [questions[example] for example in examples]
    samples = min((count for count, _ in rows), default=0)
    return {
        k: Measure(mean_pass_at_k(rows, k), *pass_interval(rows, k, clusters))
        for k in sorted({1, samples})
        if 0 < k <= samples
    }


@dataclass(frozen=True, slots=True)
class RetrievalQuality:
    """The quality of one way to retrieve, over the test `rows` whose right passages are known.

    `right` of the `shown` passages are right, and `missed` rows are shown no right one. A row is shown
    `tokens` on average; a token is counted as four characters.
    """

    retrieval: str
    augment_test: bool
    rows: int
    shown: int
    right: int
    missed: int
    tokens: float

    @property
    def precision(self) -> float | None:
        """The right passages in percent of those shown; None if nothing is shown."""
        return 100 * self.right / self.shown if self.shown else None

    @property
    def miss_rate(self) -> float:
        """The missed rows in percent."""
        return 100 * self.missed / self.rows


def read_retrieval(db: Database, run: Run) -> tuple[RetrievalQuality, ...]:
    """Count the recorded passages, in the order of the grid; nothing if no right passage is known."""
    searches = Searches.read(run.experiment.passages)
    grid = _first_cells(prompted_cells(run.experiment))
    tallies = [_RetrievalTally(cell, searches.choices[cell.retrieval]) for cell in grid]
    of_unit: dict[str, list[_RetrievalTally]] = defaultdict(list)
    for tally in tallies:
        of_unit[searches.unit_name(tally.cell.wording, tally.cell.retrieval)].append(tally)
    for unit in iter_rows(db, run.id, stages=("retrieve",), split=TEST):
        if unit.oracle and unit.variant in of_unit:
            hits = hits_from_records(unit.result["passages"])
            for tally in of_unit[unit.variant]:
                tally.add(hits, unit.oracle)
    return tuple(tally.quality() for tally in tallies if tally.rows)


def _first_cells(grid: Sequence[Cell]) -> list[Cell]:
    """Return the first cell of each retrieval and wording, in the order of the grid."""
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
        chosen = [hit.passage for hit in shown_hits(hits, self.config)]
        right = sum(passage.id in oracle for passage in chosen)
        self.rows += 1
        self.shown += len(chosen)
        self.right += right
        self.missed += not right
        self.characters += sum(len(passage_line(passage)) for passage in format_passages(chosen, self.config))

    def quality(self) -> RetrievalQuality:
        tokens = self.characters / CHARACTERS_PER_TOKEN / self.rows
        cell = self.cell
        return RetrievalQuality(
            cell.retrieval_word, cell.augment_test, self.rows, self.shown, self.right, self.missed, tokens
        )


QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True, slots=True)
class StageSpending:
    """The cost of a stage. `latency` maps QUANTILES to seconds of a call; empty if none was recorded."""

    stage: str
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    dollars: float
    latency: dict[str, float]


def read_spending(db: Database, run: Run) -> tuple[StageSpending, ...]:
    """Return the stages that bought calls, in their order."""
    by_stage, latencies = counts.spending_by_stage(db, run.id), counts.latencies(db, run.id)
    return tuple(
        StageSpending(
            stage, spent.calls, spent.usage.prompt, spent.usage.cached, spent.usage.completion,
            spent.dollars, _quantiles(latencies.get(stage)),
        )
        for stage in stage_names(run.experiment)
        if (spent := by_stage.get(stage))
    )  # fmt: skip


def _quantiles(seconds: Sequence[float] | None) -> dict[str, float]:
    if not seconds:
        return {}
    return dict(zip(QUANTILES, np.quantile(seconds, [*QUANTILES.values()]).tolist(), strict=True))
