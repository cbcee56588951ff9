"""The plan of a run, whatever its pipeline: the units of each row, their queues, and the names of steps."""

from __future__ import annotations

from collections.abc import Mapping

from models.core.experiment.experiment import Experiment
from models.core.pipeline.graph import Slot
from models.core.pipeline.stages import STAGES, eval_slots, train_slots
from models.core.pipeline.steps import step_slots

TRAIN, TEST = "train", "test"


def planned_slots(experiment: Experiment) -> dict[str, list[Slot]]:
    """Return the units that each row gets, by split. In a pipeline of steps all rows get the same."""
    if experiment.steps:
        slots = step_slots(experiment)
        return {TRAIN: slots, TEST: slots}
    return {TRAIN: train_slots(experiment), TEST: eval_slots(experiment)}


def queues(experiment: Experiment) -> list[str]:
    """Return every queue that the experiment needs a worker for."""
    return sorted({slot.queue for slots in planned_slots(experiment).values() for slot in slots})


def stage_names(experiment: Experiment) -> tuple[str, ...]:
    """Return the names of the steps in their order."""
    return tuple(experiment.steps) or STAGES


def rows_per_call(experiment: Experiment) -> Mapping[str, int]:
    """Return the steps whose calls serve several rows, with their number."""
    if experiment.steps:
        sizes = {name: step.rows_per_call for name, step in experiment.steps.items()}
    else:
        sizes = {"augment": experiment.augment.batch_size}
    return {name: size for name, size in sizes.items() if size > 1}


def shares_work(experiment: Experiment, stage: str) -> bool:
    """Return whether the units of a task of this step are executed together: one call or search serves them,
    or they take no time."""
    if experiment.steps:
        return experiment.steps[stage].shares_work
    judge = experiment.judge
    match stage:
        case "augment":
            return experiment.augment.batch_size > 1
        case "judge":
            return not (judge.execution or judge.correctness == "model")
    return stage == "retrieve"


def units_per_task(experiment: Experiment, stage: str) -> int:
    """Return the largest number of units in one Celery task of this step."""
    if experiment.steps:
        step = experiment.steps[stage]
        return max(step.units_per_task, step.rows_per_call)
    sizes = experiment.units_per_task.model_dump()
    return int(max(sizes[stage], rows_per_call(experiment).get(stage, 1)))
