"""The units of a pipeline of steps, and whether every column that a step reads is there."""

from __future__ import annotations

import re
from collections.abc import Collection

from models.core.errors import ExperimentError
from models.core.experiment.experiment import Experiment
from models.core.experiment.options import STRATA
from models.core.kinds.order import read_steps, sample_counts
from models.core.near_names import nearest
from models.core.pipeline.graph import Slot
from models.core.prompts.expressions import ROW, prompt_text

# A name in single braces, as Python's own formats have it.
_SINGLE = re.compile(r"(?<!\{)\{\s*(\w+)\s*\}")


def step_slots(experiment: Experiment) -> list[Slot]:
    """Return the units of each row."""
    slots: list[Slot] = []
    counts = sample_counts(experiment.steps)
    for name, step in experiment.steps.items():
        before = read_steps(experiment.steps, name)
        queue = experiment.model(step.asks).queue if step.asks else step.queue
        for sample in range(counts[name]):
            after = tuple(
                (each, "", number)
                for each in before
                for number in (range(counts[each]) if step.gathers else [min(sample, counts[each] - 1)])
            )
            slots.append(Slot(name, "", queue, after, sample, step.gathers and bool(after), kind=step.kind))
    return slots


def check_columns(experiment: Experiment, columns: Collection[str]) -> None:
    """Raise ExperimentError if a step reads a column that is neither in the data nor made by an earlier step,
    or would overwrite one, or if the report names one that the data has not. `columns` are the data's."""
    known = list(columns)
    strata = () if experiment.steps else STRATA
    for name in experiment.report.by:
        if name not in (*strata, *known) and name.partition(".")[0] not in known:
            raise ExperimentError(
                experiment.name, "report.by", f"there is no column {name}; {nearest(name, known)}"
            )
    for name, step in experiment.steps.items():
        if name in known:
            raise ExperimentError(
                experiment.name, f"steps.{name}", "would overwrite the column of this name; rename the step"
            )
        for each, key in step.reads().items():
            if each not in known and each != ROW:
                problem = f"there is no column {each}; {nearest(each, known)}"
                raise ExperimentError(experiment.name, f"steps.{name}.{key}", problem)
        for key, text in step.prompts().items():
            meant = (
                [] if prompt_text(text).columns else [each for each in _SINGLE.findall(text) if each in known]
            )
            if meant:
                problem = f"reads no column; write {{{{ {meant[0]} }}}} for {{{meant[0]}}}"
                raise ExperimentError(experiment.name, f"steps.{name}.{key}", problem)
        known.append(name)
