"""The report of a run as one value, which every format shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from models.core.experiment.options import DEFAULT_METRICS, Metric
from models.core.pipeline.plan import stage_names
from producer.progress.stand_in_lines import stand_in_lines
from producer.progress.wait_lines import unpriced_models
from producer.results.report import measures
from producer.results.report.ablation_table import (
    HEADINGS,
    TableRow,
    ablation_rows,
    cluster_notes,
    read_scores,
)
from producer.results.report.cell_costs import CellCost, read_cell_costs
from producer.results.report.effects import (
    AxisEffect,
    CellComparison,
    axis_effects,
    compare_cells,
    compared_metrics,
    decisive_metric,
    interaction_notes,
)
from producer.results.report.groups import GroupTable
from producer.results.report.provenance import Provenance, read_provenance
from producer.results.report.samples import SampleRow, read_samples
from producer.results.report.star_groups import read_groups
from producer.results.report.statistics import (
    StageFailures,
    Statistics,
    read_failures,
    read_statistics,
    read_totals,
)
from producer.results.report.step_report import StepReport, read_step_report
from producer.results.report.synthetic_samples import SyntheticSample, read_synthetic_samples
from producer.results.report.verdict_agreement import VerdictAgreement, read_agreement
from producer.results.row_verdicts import rows_left_out
from storage.database import Database
from storage.ledger import counts, runs
from storage.ledger.budget import read_budget
from storage.ledger.counts import Funnel
from storage.ledger.examples import examples
from storage.ledger.runs import Run
from storage.ledger.stand_ins import stand_in_reasons
from storage.ledger.timeline import Timeline, read_timeline
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
    `scores` names the metrics that the tables show. `teacher` is empty without one. `retrieval` is empty if
    the dataset knows no right passages, `execution` is None if answers were not executed. The models in
    `unpriced` have no price; calls without an answer may have cost `possible_usd`. `groups` are tables by
    columns of the data. A pipeline of steps has a `step_report`, and the `models` that its steps ask."""

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
    axis_effects: tuple[AxisEffect, ...] = ()
    failing: tuple[StageFailures, ...] = ()
    spending: tuple[measures.StageSpending, ...] = ()
    samples: tuple[SampleRow, ...] = ()
    synthetic: tuple[SyntheticSample, ...] = ()
    timeline: Timeline = field(default_factory=Timeline)
    scores: tuple[Metric, ...] = DEFAULT_METRICS
    unpriced: tuple[str, ...] = ()
    possible_usd: float = 0.0
    models: dict[str, str] = field(default_factory=dict)
    step_report: StepReport | None = None
    groups: tuple[GroupTable, ...] = ()
    agreement: VerdictAgreement = field(default_factory=VerdictAgreement)
    cell_costs: tuple[CellCost, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def metrics(self) -> dict[str, str]:
        """Headings of the ablation table's scores by name; with pass@k if answers were executed."""
        cells = self.execution.cells if self.execution else ()
        executed = [f"pass@{k}" for k in sorted({k for cell in cells for k in cell.pass_at})]
        return {name: HEADINGS[name] for name in self.scores} | {name: name for name in executed}

    @property
    def trains(self) -> frozenset[str]:
        """The stages of train examples."""
        return frozenset(stage.stage for stage in self.stages if stage.split == TRAIN)

    @property
    def compared(self) -> dict[str, str]:
        """Headings of the scores that have paired differences."""
        return {name: HEADINGS[name] for name in compared_metrics(self.scores)}


def build_report(
    db: Database, run: Run, by: Sequence[str] = (), *, page: bool = False, brief: bool = False
) -> Report:
    """Read a run in its present state, finished or not, with tables by the columns `by`, or those that the
    experiment names; for a `page` also single rows and the run over time. A `brief` report has no differences
    but the main effects in the decisive metric, of which a share takes no time. Raise UsageError if no row
    has one of `by`."""
    report = _step_report(db, run, by) if run.experiment.steps else _star_report(db, run, by, brief)
    went_on = stand_in_lines(run.experiment, stand_in_reasons(db, run.id))
    notes = (*report.notes, *(f"{line}." for line in went_on))
    report = replace(report, notes=notes, provenance=read_provenance(db, run))
    if not page:
        return report
    return replace(
        report,
        samples=() if run.experiment.steps else read_samples(db, run),
        synthetic=read_synthetic_samples(db, run),
        timeline=read_timeline(db, run.id),
    )


def _star_report(db: Database, run: Run, by: Sequence[str], brief: bool) -> Report:
    experiment = run.experiment
    state, _ = runs.run_state(db, run.id)
    # At time 0 every lease is live; a report does not show which units are in flight.
    funnel = counts.funnel(db, run.id, 0.0)
    stages = _stages(run, funnel)
    execution = measures.read_execution(db, run)
    scores = read_scores(db, run)
    metrics = experiment.judge.metrics
    compared, contrasts = compared_metrics(metrics), experiment.grid.contrasts
    compared = [name for name in compared if name == decisive_metric(metrics)] if brief else compared
    executed = (execution.measures, execution.measures_with_failed) if execution else ({}, {})
    table = ablation_rows(scores, metrics, *executed)
    notes = run_notes(state, sum(stage.left for stage in stages), len(experiment.grid.seeds), table)
    notes += [GREW] if experiment.grow.enabled else []
    notes += measures.execution_notes(execution) if execution else []
    notes += cluster_notes(db, run, scores)
    notes += _notes_on_rows(db, run)
    notes += interaction_notes([each.cell for each in scores], contrasts)
    groups, missing = read_groups(db, run, by or experiment.report.by, require=bool(by))
    notes += _missing_notes(missing)
    return Report(
        run=run.id,
        experiment=run.name,
        state=state,
        teacher=experiment.teacher.model_name if experiment.teacher else "",
        students={student.name: student.model_name for student in experiment.students},
        seeds=tuple(experiment.grid.seeds),
        statistics=read_statistics(db, run, funnel),
        table=table,
        stages=stages,
        notes=tuple(notes),
        retrieval=measures.read_retrieval(db, run),
        execution=execution,
        effects=() if brief else compare_cells(scores, compared, contrasts),
        axis_effects=axis_effects(scores, compared, contrasts, crossed=not brief),
        failing=read_failures(db, run),
        spending=measures.read_spending(db, run),
        groups=groups,
        agreement=read_agreement(db, run),
        cell_costs=read_cell_costs(db, run),
        scores=tuple(metrics),
        unpriced=unpriced_models(experiment),
        possible_usd=read_budget(db, run.id).unanswered / 1e9,
    )


def _step_report(db: Database, run: Run, by: Sequence[str]) -> Report:
    experiment = run.experiment
    state, _ = runs.run_state(db, run.id)
    funnel = counts.funnel(db, run.id, 0.0)
    stages = _stages(run, funnel)
    results = read_step_report(db, run, funnel, by or experiment.report.by, require=bool(by))
    notes = run_notes(state, sum(stage.left for stage in stages), 1, ())
    asked = dict.fromkeys(step.asks for step in experiment.steps.values() if step.asks)
    return Report(
        run=run.id,
        experiment=run.name,
        state=state,
        teacher="",
        students={},
        seeds=(),
        statistics=read_totals(db, run),
        table=(),
        stages=stages,
        notes=(*notes, *_missing_notes(results.missing)),
        spending=measures.read_spending(db, run),
        unpriced=unpriced_models(experiment),
        possible_usd=read_budget(db, run.id).unanswered / 1e9,
        models={name: experiment.model(name).model_name for name in asked},
        step_report=results,
        groups=results.groups,
        agreement=results.agreement,
    )


def _notes_on_rows(db: Database, run: Run) -> list[str]:
    """Say which test rows have no score, and of which answers the prompts are not known."""
    notes = []
    if left_out := len(rows_left_out(db, run)):
        rows = sum(1 for _ in examples(db, run.id, TEST))
        notes.append(
            f"{left_out:,} of {rows:,} test rows share an id with a later row and are left out, as in the "
            "paper; report.repeated_ids: each counts all."
        )
    replayed = [student.name for student in run.experiment.examined if student.replays_cells]
    if replayed:
        names = " and ".join(replayed)
        notes.append(f"Answers of {names} are replayed by cell; their prompts are not known here.")
    return notes


def _missing_notes(columns: Sequence[str]) -> list[str]:
    return [f"There is no table by {column}, which no row has." for column in columns]


def _stages(run: Run, funnel: Funnel) -> tuple[StageCount, ...]:
    totals = (
        (split, stage, funnel.total(split=split, stage=stage))
        for split in (TRAIN, TEST)
        for stage in stage_names(run.experiment)
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
