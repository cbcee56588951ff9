"""Check that each part of an experiment has the parts that it needs. A part that is left out is not run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from models.core.experiment.cell_files import CellFiles
from models.core.experiment.experiment import Experiment
from models.core.near_names import did_you_mean
from models.core.pipeline.grid import cells

# The room for the name of a cell in the ledger.
LONGEST_NAME = 128


def missing_part(experiment: Experiment) -> str:
    """Return what is missing for the parts that there are, and a remedy; empty if nothing is."""
    problems = chain(
        _names_of_cells(experiment),
        _recorded_cells(experiment),
        _models(experiment),
        _steps(experiment),
        _templates(experiment),
        _rules(experiment),
    )
    return next(problems, "")


def _names_of_cells(experiment: Experiment) -> Iterator[str]:
    for cell in cells(experiment):
        if len(cell.name) > LONGEST_NAME:
            yield (
                f"a cell would be named {cell.name}: that is {len(cell.name)} characters, and {LONGEST_NAME} "
                "fit; shorten the name of the student or of the retrieval"
            )


def _recorded_cells(experiment: Experiment) -> Iterator[str]:
    for name, model in {**experiment.roles, **experiment.models}.items():
        if model.replays_cells:
            yield f"{name} has a recording of cells, and only students have cells; name one file"
    for number, student in enumerate(experiment.students):
        if not isinstance(student.recording, CellFiles):
            continue
        own = [cell.name for cell in cells(experiment) if cell.student == student.name]
        names, files = [name.removeprefix(f"{student.name}/") for name in own], student.recording.cells
        key = f"students.{number}.recording.cells"
        if lacking := [name for name in names if name not in files]:
            yield f"{key} has no file for {lacking[0]}; add one, or take the cell out of the grid"
        for name in (name for name in files if name not in names):
            remedy = did_you_mean(name, names, "remove it")
            yield f"{key} has {name}, which is no cell of the grid; {remedy}"


def _models(experiment: Experiment) -> Iterator[str]:
    if experiment.steps:
        return
    if not experiment.teacher and not experiment.students:
        yield "asks no model; add a teacher, who writes data, or students, who are compared, or steps"
    if experiment.students and experiment.dataset and not experiment.dataset.test:
        yield "students answer test rows, and dataset.test is not set; set it, or leave students out"
    grid = experiment.grid
    uses = {
        "grow.enabled": experiment.grow.enabled,
        "augment.enabled": experiment.augment.enabled,
        "grid.augment_test": bool(experiment.prompted) and any(grid.augment_test),
        "grid.rationale": bool(experiment.prompted) and set(grid.rationale) != {"none"},
    }
    for key in _used(uses) if not experiment.teacher else ():
        remedy = "take [none]" if key == "grid.rationale" else "take false"
        yield f"{key} needs a teacher; add one, or {remedy}"
    if any(grid.augment_exemplars or ()) and not experiment.augment.enabled and experiment.examined:
        yield "grid.augment_exemplars shows train requests augmented; set augment.enabled, or take [false]"
    vectors = {"nearest", "diverse"}.intersection(grid.exemplars)
    if vectors and not experiment.passages and any(grid.shots) and experiment.prompted:
        yield (
            f"grid.exemplars {min(vectors)} compares requests by the encoder of the section passages; add "
            "the section, or take random or fixed"
        )


def _steps(experiment: Experiment) -> Iterator[str]:
    for name, step in experiment.steps.items():
        if step.queue == "retrieve" and not experiment.passages:
            yield f"steps.{name}: searches the section passages, which is not there; add it"
        if step.rows_per_call > 1 and experiment.model(step.asks).delivery == "batch":
            yield f"steps.{name}.together: a batch takes a call for each row; leave it out, or delivery batch"
        if step.uses_module and not (experiment.task and experiment.task.module):
            yield f"steps.{name}: calls the functions of a task.py; set task to the folder that has it"


def _templates(experiment: Experiment) -> Iterator[str]:
    task = experiment.task
    if task is None or experiment.steps:
        return
    where = f"task folder {task.name} has no"
    if not task.prompts.augment and (experiment.augment.enabled or any(experiment.grid.augment_test)):
        yield f"{where} augment.j2, so augment.enabled and grid.augment_test must be false"
    uses = {
        "grow": (experiment.grow.enabled, "for requests"),
        "rationale": (experiment.makes_rationales, "the teacher"),
        "answer": (bool(experiment.examined), "students"),
    }
    for name, (is_used, asked) in uses.items():
        if is_used and not getattr(task.prompts, name):
            remedy = "write one, such as that in the folder of `starmill task new`"
            yield f"{where} {name}.j2, which asks {asked}; {remedy}"


def _rules(experiment: Experiment) -> Iterator[str]:
    task = experiment.task
    if task is None:
        return
    if "model" in experiment.rules and not (experiment.judge.model and task.prompts.verdict):
        lacks = "judge.model" if task.prompts.verdict else f"a verdict.j2 in task folder {task.name}"
        yield f"rule model needs {lacks}"
    if "module" in experiment.rules and not task.module:
        yield f"rule module needs a task.py, which task folder {task.name} does not have"


def _used(uses: dict[str, bool]) -> Iterable[str]:
    return (key for key, is_used in uses.items() if is_used)
