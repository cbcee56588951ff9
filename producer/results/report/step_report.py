"""The results of a pipeline of steps: what each step did and cost, and how its judges and votes decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.core.words import question_group
from producer.results.report.groups import Grouping, GroupTable, ValueTally
from producer.results.report.verdict_agreement import StepVerdicts, VerdictAgreement
from producer.results.step_verdicts import RIGHT, is_accepted, measured, verdicts_of
from storage.database import Database
from storage.ledger import counts
from storage.ledger.counts import Funnel, Spending
from storage.ledger.examples import value_label
from storage.ledger.row_counts import row_counts
from storage.ledger.runs import Run
from storage.ledger.step_units import step_units
from storage.schema import DONE, FAILED, SKIPPED


@dataclass(frozen=True, slots=True)
class StepSummary:
    """The units of a step by state, the model that it `asks`, what it bought, its answers that were not
    accepted by reason, and what its results say by name, such as `right` or `score`."""

    name: str
    kind: str
    word_for_right: str
    asks: str
    planned: int
    done: int
    skipped: int
    failed: int
    spent: Spending
    rejected: Mapping[str, int]
    measures: Mapping[str, ValueTally]

    @property
    def left(self) -> int:
        return self.planned - self.done - self.skipped - self.failed


@dataclass(frozen=True, slots=True)
class StepReport:
    """The rows of the run, as `row_counts` has them, and its steps. `accepted` is None without a step that
    accepts rows."""

    rows: int = 0
    done: int = 0
    failed: int = 0
    accepted: int | None = None
    steps: tuple[StepSummary, ...] = ()
    groups: tuple[GroupTable, ...] = ()
    # Columns of the experiment's own report that no row has.
    missing: tuple[str, ...] = ()
    agreement: VerdictAgreement = field(default_factory=VerdictAgreement)


@dataclass(slots=True)
class _Tallies:
    accepted: int = 0
    steps: dict[str, dict[str, ValueTally]] = field(default_factory=dict)


def read_step_report(
    db: Database, run: Run, funnel: Funnel, by: Sequence[str], *, require: bool
) -> StepReport:
    """Count in one pass over the rows. With `require`, raise UsageError if no row has a column of `by`."""
    experiment = run.experiment
    tallies, grouping = _Tallies(steps={name: {} for name in experiment.steps}), Grouping(by)
    judged, cluster = StepVerdicts(), experiment.report.cluster
    for row in step_units(db, run):
        tallies.accepted += is_accepted(experiment, row)
        question = (value_label(row.columns, cluster) if cluster else None) or question_group(row.question_id)
        judged.add(verdicts_of(experiment.steps, row), question)
        measures = measured(experiment.steps, row)
        for (of_step, measure), values in measures.items():
            tallies.steps[of_step].setdefault(measure, ValueTally()).add(values)
        grouping.add(row.columns, {f"{step}, {name}": values for (step, name), values in measures.items()})
    if require:
        grouping.require(grouping.missing())
    bought, rejected = counts.spending_by_stage(db, run.id), counts.rejections_by_stage(db, run.id)
    summaries = []
    for name, step in experiment.steps.items():
        states = funnel.total(stage=name)
        summaries.append(
            StepSummary(
                name, step.kind, step.word_for_right, step.asks, states.total(), states[DONE],
                states[SKIPPED], states[FAILED], bought.get(name, Spending.nothing()), rejected.get(name, {}),
                tallies.steps[name],
            )
        )  # fmt: skip
    decides = any(RIGHT in measures for measures in tallies.steps.values())
    rows = row_counts(db, run, funnel)
    return StepReport(
        rows.planned, rows.finished, rows.failed, tallies.accepted if decides else None, tuple(summaries),
        grouping.tables(), tuple(grouping.missing()) if rows.planned else (), judged.agreement(),
    )  # fmt: skip
