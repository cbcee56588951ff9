"""Names of what steps ask, by which two experiments are found to ask the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from models.core.experiment.experiment import Experiment
from models.core.experiment.identity_keys import MUTABLE_KEYS, MUTABLE_MODEL
from models.core.kinds.order import read_steps
from models.core.pipeline.grid import cells
from models.core.pipeline.plan import rows_per_call, stage_names
from models.core.pipeline.rounds import round_of

# The parts of a model that its requests are made of.
ASKED = {"backend", "model", "base_url", "params", "prompt_format"}
_MODEL = {**MUTABLE_MODEL, "price": True}
# Keys on which no request depends, and those that say where rows come from.
_LEFT_OUT: Mapping[str, Any] = {
    **MUTABLE_KEYS,
    **dict.fromkeys(("name", "dataset", "data", "split", "grow", "units_per_task"), True),
    "grid": {"contrasts"},
    "models": {"__all__": _MODEL},
    "teacher": _MODEL,
    "judge": {"model": _MODEL},
    "students": {"__all__": _MODEL},
}


def signatures(experiment: Experiment) -> dict[str, str]:
    """Return a name of the requests of each step, as far as they do not depend on rows."""
    if not experiment.steps:
        whole = _hash(experiment.model_dump(mode="json", exclude=_LEFT_OUT))
        return dict.fromkeys(stage_names(experiment), whole)
    named: dict[str, str] = {}
    for name, step in experiment.steps.items():
        model = experiment.model(step.asks).model_dump(mode="json", include=ASKED) if step.asks else None
        before = [named[each] for each in read_steps(experiment.steps, name)]
        searches = experiment.model_dump(mode="json", include={"passages"}) if step.queue == "retrieve" else 0
        named[name] = _hash([step.model_dump(mode="json"), model, before, searches, experiment.identity])
    return named


def asked_by_row(experiment: Experiment, stage: str, variant: str) -> bool:
    """Return whether the requests of a unit depend on its own row alone. Others show worked examples from
    other rows, or follow a call that serves several rows."""
    grouped = set(rows_per_call(experiment))
    if experiment.steps:
        return not grouped.intersection([stage, *_before(experiment, stage)])
    if grouped or (stage in ("rationale", "rationalize") and round_of(variant) > 1):
        return False
    return not any(cell.shots and cell.name == variant for cell in cells(experiment))


def _before(experiment: Experiment, name: str) -> set[str]:
    """Return all steps that a step reads, directly or not."""
    read = read_steps(experiment.steps, name)
    return {*read, *(each for step in read for each in _before(experiment, step))}


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
