"""Verdicts and scores that the steps of a row give, and whether the row is accepted."""

from __future__ import annotations

from collections.abc import Mapping

from models.core.experiment.experiment import Experiment
from models.core.kinds.step import StepSettings
from storage.ledger.step_units import StepRow, StepUnit
from storage.schema import DONE

RIGHT = "right"


def is_accepted(experiment: Experiment, row: StepRow) -> bool:
    """Return True if every step of the row ended well, and the last step that says right or wrong, a judge or
    a vote, says right of one of its samples. Without such a step all rows that are done are accepted."""
    if not row.is_done:
        return False
    for name, step in reversed(experiment.steps.items()):
        verdicts = {step.is_right(unit.result) for unit in row.units[name]} - {None}
        if verdicts:
            return True in verdicts
    return True


def measured(steps: Mapping[str, StepSettings], row: StepRow) -> dict[tuple[str, str], list[float]]:
    """Return what the results of a row say, by step and name, such as RIGHT or `score`; a step with samples
    has several values."""
    measures: dict[tuple[str, str], list[float]] = {}
    for name, step in steps.items():
        for unit in row.units[name]:
            for measure, value in _values(step, unit).items():
                measures.setdefault((name, measure), []).append(value)
    return measures


def verdicts_of(steps: Mapping[str, StepSettings], row: StepRow) -> dict[str, dict[int, bool]]:
    """Return what the judges that say right or wrong say of the row, by step and sample."""
    verdicts = {
        name: {
            unit.sample: right
            for unit in row.units[name]
            if unit.state == DONE and (right := step.is_right(unit.result)) is not None
        }
        for name, step in steps.items()
        if step.kind == "judge"
    }
    return {name: given for name, given in verdicts.items() if given}


def _values(step: StepSettings, unit: StepUnit) -> dict[str, float]:
    if unit.state != DONE:
        return {}
    right = step.is_right(unit.result)
    return {**({} if right is None else {RIGHT: right}), **step.numbers(unit.result)}
