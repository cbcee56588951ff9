"""The report of a run as one value, which every format shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.core.experiment.options import DEFAULT_METRICS, Metric
from models.core.pipeline.stages import STAGES
from producer.progress.wait_lines import unpriced_models
from producer.results.report import measures
from producer.results.report.ablation_table import HEADINGS, TableRow, ablation_rows, read_scores
from producer.results.report.effects import CellComparison, compare_cells, compared_metrics
from producer.results.report.samples import SampleRow, read_samples
from producer.results.report.statistics import StageFailures, Statistics, read_failures, read_statistics
from storage.database import Database
from storage.ledger import counts, runs
from storage.ledger.budget import read_budget
from storage.ledger.counts import Funnel
from storage.ledger.runs import Run
from storage.schema import DONE, FAILED, SKIPPED, TEST, TRAIN

GREW = "The run grew requests and asked no student; `starmill data grow` tells what of them was kept."


@dataclass(frozen=True, slots=True)
class StageCount:
    """Units of a stage by their state; `left` are not final yet."""

    split: str
    stage: str
    planned: int
    done: int
    skipped: int
    failed: int

    @property
    def left(self) -> int:
        return self.planned - self.done - self.skipped - self.failed


@dataclass(frozen=True, slots=True)
class Report:
    """The numbers of a run. `seeds` are those of the grid; `notes` are sentences for below the tables;
    `scores` names the metrics that the tables show. `retrieval` is empty if the dataset knows no right
    passages, `execution` is None if answers were not executed. The models in
    `unpriced` have no price; calls without an answer may have cost `possible_usd`."""

    run: str
    experiment: str
    state: str
    teacher: str
    students: dict[str, str]
    seeds: tuple[int, ...]
    statistics: Statistics
    table: tuple[TableRow, ...]
    stages: tuple[StageCount, ...]
    notes: tuple[str, ...]
    retrieval: tuple[measures.RetrievalQuality, ...] = ()
    execution: measures.Execution | None = None
    effects: tuple[CellComparison, ...] = ()
    failing: tuple[StageFailures, ...] = ()
    spending: tuple[measures.StageSpending, ...] = ()
    samples: tuple[SampleRow, ...] = ()
    scores: tuple[Metric, ...] = DEFAULT_METRICS
    unpriced: tuple[str, ...] = ()
    possible_usd: float = 0.0

    @property
    def metrics(self) -> dict[str, str]:
        """Headings of the ablation table's scores by name; with pass@k if answers were executed."""
        cells = self.execution.cells if self.execution else ()
        executed = [f"pass@{k}" for k in sorted({k for cell in cells for k in cell.pass_at})]
        return {name: HEADINGS[name] for name in self.scores} | {name: name for name in executed}

    @property
    def compared(self) -> dict[str, str]:
        """Headings of the scores that have paired differences."""
        return {name: HEADINGS[name] for name in compared_metrics(self.scores)}


def build_report(db: Database, run: Run) -> Report:
    """Read a run in its present state, finished or not."""
    experiment = run.experiment
    state, _ = runs.run_state(db, run.id)
    # At time 0 every lease is live; a report does not show which units are in flight.
    funnel = counts.funnel(db, run.id, 0.0)
    stages = _stages(funnel)
    execution = measures.read_execution(db, run)
    scores = read_scores(db, run)
    metrics = experiment.judge.metrics
    table = ablation_rows(scores, execution.measures if execution else {}, metrics)
    notes = run_notes(state, sum(stage.left for stage in stages), len(experiment.grid.seeds), table)
    notes += [GREW] if experiment.grow.enabled else []
    notes += measures.execution_notes(execution) if execution else []
    return Report(
        run=run.id,
        experiment=run.name,
        state=state,
        teacher=experiment.teacher.model_name,
        students={student.name: student.model_name for student in experiment.students},
        seeds=tuple(experiment.grid.seeds),
        statistics=read_statistics(db, run, funnel),
        table=table,
        stages=stages,
        notes=tuple(notes),
        retrieval=measures.read_retrieval(db, run),
        execution=execution,
        effects=compare_cells(scores, compared_metrics(metrics)),
        failing=read_failures(db, run),
        spending=measures.read_spending(db, run.id),
        samples=read_samples(db, run),
        scores=tuple(metrics),
        unpriced=unpriced_models(experiment),
        possible_usd=read_budget(db, run.id).unanswered / 1e9,
    )


def _stages(funnel: Funnel) -> tuple[StageCount, ...]:
    totals = (
        (split, stage, funnel.total(split=split, stage=stage)) for split in (TRAIN, TEST) for stage in STAGES
    )
    return tuple(
        StageCount(split, stage, planned, states[DONE], states[SKIPPED], states[FAILED])
        for split, stage, states in totals
        if (planned := states.total())
    )


def run_notes(state: str, left: int, seeds: int, table: Sequence[TableRow]) -> list[str]:
    """Return sentences on the run as a whole, then on single cells."""
    notes = []
    missing = sum(row.planned - row.n for row in table)
    if left:
        notes.append(f"The run is {state}: {left:,} units are open; the numbers are of what is done so far.")
    elif missing:
        notes.append(f"{missing:,} planned answers failed; they have no score and are not in n.")
    if seeds > 1:
        notes.append(f"Scores are means over {seeds} seeds; n counts the answers of all of them.")
    for beginning, cells in (
        (
            "Shown fewer exemplars than shots, as there were no more",
            [_fewer(row) for row in table if row.fewer],
        ),
        (
            "Left out where the model's context had no room",
            [_shortened(row) for row in table if row.shortened],
        ),
        ("Cut off at the token limit", [_truncated(row) for row in table if row.truncated]),
    ):
        if cells:
            notes.append(f"{beginning}: {'; '.join(cells)}.")
    return notes


def _fewer(row: TableRow) -> str:
    return f"{row.cell.name} ({row.fewer:,} of {row.answers:,} answers, {row.shown:.2f} on average)"


def _shortened(row: TableRow) -> str:
    passages, exemplars = row.dropped
    dropped = f"{passages:,} passages and {exemplars:,} exemplars"
    return f"{row.cell.name} ({dropped} in {row.shortened:,} of {row.answers:,} answers)"


def _truncated(row: TableRow) -> str:
    return f"{row.cell.name} ({row.truncated:,} of {row.answers:,} answers)"
