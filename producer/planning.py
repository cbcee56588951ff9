"""Find the run of an experiment, or check everything and plan a new one."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from models.core.experiment.experiment import Experiment
from models.core.types import Example
from producer.experiments.datasets import read_dataset
from producer.experiments.load import pin_recordings
from producer.experiments.row_requirements import (
    check_step_columns,
    require_cluster_column,
    require_references,
    require_right_passages,
    require_search_of_any_rows,
    require_step_references,
    require_tests,
    require_train_rows,
)
from producer.look_ahead.known_answers import Job
from producer.origin import RunSource, read_origin
from storage.broker import Queues
from storage.database import Database
from storage.ledger import runs
from storage.ledger.runs import Run
from storage.schema import TEST, TRAIN
from storage.settings import Settings

Splits = Mapping[str, Iterable[Example]]


@dataclass(frozen=True, slots=True)
class FirstRows(Iterable[Example]):
    """The first rows of a split, read again in each iteration."""

    rows: Iterable[Example]
    number: int

    def __iter__(self) -> Iterator[Example]:
        return islice(self.rows, self.number)


def read_checked(experiment: Experiment, first: int | None = None) -> tuple[Experiment, Splits]:
    """Return the experiment with its recordings pinned, and its rows by split, or the `first` ones of each.
    Raise UsageError for rows that do not suit it."""
    experiment = pin_recordings(experiment)
    splits: Splits = read_dataset(experiment)
    if first is not None:
        splits = {split: FirstRows(rows, first) for split, rows in splits.items()}
    if not experiment.grow.enabled:
        require_right_passages(experiment, splits)
        require_tests(experiment, splits)
    if experiment.steps or experiment.report.by:
        check_step_columns(experiment, splits)
    require_cluster_column(experiment, splits)
    require_search_of_any_rows(experiment)
    if first is None:
        require_train_rows(experiment, splits)
    require_step_references(experiment, splits)
    if not experiment.steps:
        from producer.experiments.task_check import check_prompts  # with every source of passages

        require_references(experiment, splits)
        check_prompts(experiment, splits[TRAIN])
    return experiment, splits


def read_job(experiment: Experiment) -> Job:
    """Check the experiment and its rows, and count these. Raise UsageError."""
    experiment, splits = read_checked(experiment)
    rows = {split: sum(1 for _ in splits.get(split, ())) for split in (TRAIN, TEST)}
    return Job(experiment, runs.dataset_hash(splits), rows, splits)


def find_or_plan(
    db: Database,
    experiment: Experiment,
    settings: Settings,
    local: bool,
    tell: Callable[[str], None],
    new: bool = False,
    first: int | None = None,
    source: RunSource | None = None,
) -> Run:
    """Return the run of this experiment, or check everything and plan a new one; with `first`, of that many
    rows of each split. `tell` prints a line; `source` is what a new run was asked for with."""
    experiment, splits = read_checked(experiment, first)
    dataset = runs.dataset_hash(splits)
    existing = None if new else runs.find_run(db, experiment, dataset)
    if existing:
        return runs.update_mutable(db, existing, experiment)
    if not local:
        Queues(settings.broker).check()
    elif experiment.executes:
        from models.adapters.sandbox.runner import Sandbox

        Sandbox(experiment.judge.limits).check()
    require_index(experiment, settings, tell)
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    name = f"{experiment.name}-grow" if experiment.grow.enabled else experiment.name
    run_id = f"{name}-{stamp}-{secrets.token_hex(2)}"
    origin = read_origin(source, experiment, settings)
    planned = runs.plan_run(db, run_id, experiment, splits, db.clock(), dataset, origin)
    tell(f"run {planned.id}: {planned.planned:,} units planned")
    return planned


def require_index(experiment: Experiment, settings: Settings, tell: Callable[[str], None]) -> None:
    """Bring the index of the experiment's passages up to date, if it has any."""
    if experiment.grow.enabled or not experiment.passages:
        return
    from producer.index.index_progress import bring_up_to_date  # with an encoder

    index, _ = bring_up_to_date(experiment, settings)
    if index.encoded:
        tell(str(index))
