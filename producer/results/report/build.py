"""What a reader must know to read the tables right.

The report of a run as one value, which every format shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.core.experiment.options import DEFAULT_METRICS, Metric
from models.core.pipeline.stages import STAGES
from producer.results.report.ablation_table import HEADINGS, TableRow, ablation_rows, read_cells
from producer.results.report.effects import CellComparison, compared, comparisons
from producer.results.report.measures import (
    Execution,
    RetrievalQuality,
    StageSpending,
    read_execution,
    retrieval_qualities,
    sentences,
    stage_spending,
)
from producer.results.report.samples import SampleRow, read_samples
from producer.results.report.statistics import StageFailures, Statistics, read_statistics, stage_failures
from storage.database import Database
from storage.ledger import counts, runs
from storage.ledger.counts import Funnel
from storage.ledger.runs import Run
from storage.schema import DONE, FAILED, FINISHED, SKIPPED, TEST, TRAIN


def notes(state: str, left: int, seeds: int, table: Sequence[TableRow]) -> tuple[str, ...]:
    """Sentences on the run as a whole, then on single cells."""
    found = []
    missing = sum(row.planned - row.n for row in table)
    if left:
        found.append(f"The run is {state}: {left:,} units are open; the numbers are of what is done so far.")
    elif missing:
        found.append(f"{missing:,} planned answers failed; they have no score and are not in n.")
    if seeds > 1:
        found.append(f"Scores are means over {seeds} seeds; n counts the answers of all of them.")
    if fewer := [_fewer(row) for row in table if row.fewer]:
        found.append(f"Shown fewer exemplars than shots, as there were no more: {'; '.join(fewer)}.")
    if shortened := [_shortened(row) for row in table if row.shortened]:
        found.append(f"Left out where the model's context had no room: {'; '.join(shortened)}.")
    if truncated := [_truncated(row) for row in table if row.truncated]:
        found.append(f"Cut off at the token limit: {'; '.join(truncated)}.")
    return tuple(found)


def _fewer(row: TableRow) -> str:
    return f"{row.cell.variant} ({row.fewer:,} of {row.answers:,} answers, {row.shown:.2f} on average)"


def _shortened(row: TableRow) -> str:
    passages, exemplars = row.dropped
    return (
        f"{row.cell.variant} ({passages:,} passages and {exemplars:,} exemplars in {row.shortened:,} of "
        f"{row.answers:,} answers)"
    )


def _truncated(row: TableRow) -> str:
    return f"{row.cell.variant} ({row.truncated:,} of {row.answers:,} answers)"


GREW = "The run grew requests and asked no student; `starmill data grow` tells what of them was kept."


@dataclass(frozen=True, slots=True)
class StageCount:
    """Units of a stage by what became of them; `left` are those that are not final yet."""

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
    """`seeds` are those of the grid; `notes` are sentences that belong below the tables. `retrieval` is empty
    where the dataset knows no right passages, `execution` is None where answers were not executed. `scores`
    are those that the tables show."""

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
    retrieval: tuple[RetrievalQuality, ...] = ()
    execution: Execution | None = None
    effects: tuple[CellComparison, ...] = ()
    failing: tuple[StageFailures, ...] = ()
    spending: tuple[StageSpending, ...] = ()
    samples: tuple[SampleRow, ...] = ()
    scores: tuple[Metric, ...] = DEFAULT_METRICS

    @property
    def metrics(self) -> dict[str, str]:
        """Headings of the ablation table's scores by name; pass@k where answers were executed."""
        executed = sorted(
            {k for cell in self.execution.cells for k in cell.pass_at} if self.execution else ()
        )
        return {
            **{name: HEADINGS[name] for name in self.scores},
            **{f"pass@{k}": f"pass@{k}" for k in executed},
        }

    @property
    def compared(self) -> dict[str, str]:
        """Headings of the scores of which paired differences are told."""
        return {name: HEADINGS[name] for name in compared(self.scores)}

    @property
    def finished(self) -> bool:
        return self.state == FINISHED


def build_report(db: Database, run: Run) -> Report:
    """Read a run as it stands, finished or not."""
    state, _ = runs.run_state(db, run.id)
    # At time 0 every lease is live; which units are in flight is nothing that a report shows.
    funnel = counts.funnel(db, run.id, 0.0)
    stages = _stages(funnel)
    experiment = run.experiment
    execution = read_execution(db, run)
    scores = read_cells(db, run)
    metrics = experiment.judge.metrics
    table = ablation_rows(scores, execution.measures if execution else {}, metrics)
    said = notes(state, sum(stage.left for stage in stages), len(experiment.grid.seeds), table)
    if experiment.grow.enabled:
        said = (*said, GREW)
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
        notes=(*said, *(sentences(execution) if execution else ())),
        retrieval=retrieval_qualities(db, run),
        execution=execution,
        effects=comparisons(scores, compared(metrics)),
        failing=stage_failures(db, run),
        spending=stage_spending(db, run.id),
        samples=read_samples(db, run),
        scores=tuple(metrics),
    )


def _stages(funnel: Funnel) -> tuple[StageCount, ...]:
    counted = []
    for split in (TRAIN, TEST):
        for stage in STAGES:
            states = funnel.total(split=split, stage=stage)
            if planned := states.total():
                counted.append(
                    StageCount(split, stage, planned, states[DONE], states[SKIPPED], states[FAILED])
                )
    return tuple(counted)
