"""Answers to an experiment's requests that the ledger has already, from earlier runs of the same name and
from its preview."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from models.core.experiment.experiment import Experiment
from models.core.pipeline.signatures import asked_by_row, signatures
from models.core.types import Example
from storage.database import Database
from storage.ledger import row_samples
from storage.ledger.row_samples import Sample
from storage.ledger.runs import Run
from storage.schema import TEST, TRAIN

# A preview begins its name with a word, so that the experiment names its runs alone.
LONGEST_NAME = 56
# Split and stage of units.
StageKey = tuple[str, str]


def preview_name(experiment: Experiment) -> str:
    return f"preview-{experiment.name[:LONGEST_NAME]}"


@dataclass(frozen=True, slots=True)
class Job:
    """The rows that an experiment is to be run on; `dataset` is the hash of all of them."""

    experiment: Experiment
    dataset: str
    rows: Mapping[str, int]
    splits: Mapping[str, Iterable[Example]]


@dataclass(slots=True)
class KnownAnswers:
    """For each split and stage the units that need no call any more, the answers that they rest on, and the
    rows from which the others are estimated, with the name of their run."""

    units: Counter[StageKey] = field(default_factory=Counter)
    answers: Counter[StageKey] = field(default_factory=Counter)
    samples: dict[StageKey, tuple[str, Sample]] = field(default_factory=dict)


def find_known_answers(db: Database, job: Job) -> KnownAnswers:
    """Look at the newest runs of the experiment and of its preview. Of several that know a stage, the one
    with the most units counts."""
    known = KnownAnswers()
    wanted = signatures(job.experiment)
    for run in row_samples.runs_named(db, [job.experiment.name, preview_name(job.experiment)]):
        alike = {stage for stage, name in signatures(run.experiment).items() if wanted.get(stage) == name}
        if alike:
            _add_units(db, job, run, alike, known)
            _add_sample(run, row_samples.sample(db, run), alike, known)
    return known


def _add_units(db: Database, job: Job, run: Run, alike: set[str], known: KnownAnswers) -> None:
    same = run.dataset == job.dataset
    ids = None if same else _equal_rows(db, job, run)
    units: Counter[StageKey] = Counter()
    answers: Counter[StageKey] = Counter()
    for counted, total in (
        (row_samples.final_units(db, run, ids), units),
        (row_samples.answers(db, run, ids), answers),
    ):
        for (split, stage, variant), number in counted.items():
            if stage in alike and (same or asked_by_row(job.experiment, stage, variant)):
                total[split, stage] += number
    for key, number in units.items():
        if number > known.units[key]:
            known.units[key], known.answers[key] = number, answers[key]


def _equal_rows(db: Database, job: Job, run: Run) -> list[int]:
    """Return the rows of the run that the job has, too. Reading ends when none is left to look for."""
    ids: list[int] = []
    for split in (TRAIN, TEST):
        there = row_samples.row_ids(db, run.dataset, split)
        for example in job.splits.get(split, ()) if there else ():
            if (row := there.pop(row_samples.content(example), None)) is not None:
                ids.append(row)
            if not there:
                break
    return ids


def _add_sample(run: Run, sample: Sample, alike: set[str], known: KnownAnswers) -> None:
    for split, rows in sample.rows.items():
        for stage in alike if rows else ():
            before = known.samples.get((split, stage))
            if before is None or len(rows) > len(before[1].rows[split]):
                known.samples[split, stage] = (run.id, sample)
