"""The length of rows, by which a few of them tell of all: longer rows take more tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean

from models.core.experiment.experiment import Experiment
from models.core.pipeline.plan import stage_names
from models.core.prompts.column_values import ExpressionError
from models.core.prompts.expressions import ROW, condition, prompt_text
from models.core.row_values import joined_text
from models.core.types import Example

# Fewer rows show no trend.
MIN_ROWS = 3


@dataclass(frozen=True, slots=True)
class StepRows:
    """The share of rows that a step may ask for, and their mean length."""

    share: float
    length: float


class RowLengths:
    """The characters of a row in prompts, and conditions of steps that read columns of the data alone."""

    def __init__(self, experiment: Experiment) -> None:
        steps = experiment.steps
        texts = chain.from_iterable(step.prompts().values() for step in steps.values())
        self._read = frozenset().union(*(prompt_text(text).columns for text in texts))
        self._stages = stage_names(experiment)
        conditions = {name: condition(step.when) for name, step in steps.items() if step.when}
        self._conditions = {
            name: each for name, each in conditions.items() if each.columns.isdisjoint({*steps, ROW})
        }

    def length(self, row: Example) -> int:
        if not row.columns:
            return len(row.request)
        names = self._read & row.columns.keys() if ROW not in self._read else row.columns.keys()
        return len(joined_text({name: row.columns[name] for name in names})) if names else len(row.request)

    def by_step(self, rows: Iterable[Example]) -> dict[str, StepRows]:
        """Count the rows that each step may ask for."""
        lengths: dict[str, list[int]] = {stage: [] for stage in self._stages}
        number = 0
        for row in rows:
            number += 1
            length = self.length(row)
            for stage, asked in lengths.items():
                if stage not in self._conditions or self._holds(stage, row):
                    asked.append(length)
        return {
            stage: StepRows(len(asked) / max(1, number), fmean(asked or [0]))
            for stage, asked in lengths.items()
        }

    def _holds(self, step: str, row: Example) -> bool:
        try:
            return self._conditions[step].holds(row.columns)
        except ExpressionError:  # the row will fail
            return False


def trend(lengths: Sequence[float], values: Sequence[float]) -> float:
    """Return by how much a value grows with each character, as far as lengths explain it: the slope of the
    line of least squares, times the share of the variance that it explains."""
    lengths_sum, values_sum, products = _squares(lengths, values)
    if len(lengths) < MIN_ROWS or not lengths_sum or not values_sum:
        return 0.0
    return products**3 / (lengths_sum**2 * values_sum)


def residual(lengths: Sequence[float], values: Sequence[float]) -> float:
    """Return the variance of values that lengths do not explain; infinite for one value."""
    if len(values) < 2:
        return math.inf
    lengths_sum, values_sum, products = _squares(lengths, values)
    if len(values) < MIN_ROWS or not lengths_sum:
        return values_sum / (len(values) - 1)
    return max(0.0, values_sum - products**2 / lengths_sum) / (len(values) - 2)


def _squares(lengths: Sequence[float], values: Sequence[float]) -> tuple[float, float, float]:
    """Return the sums of squares of both, and of their products, about their means."""
    middle, mean = fmean(lengths), fmean(values)
    pairs = [(length - middle, value - mean) for length, value in zip(lengths, values, strict=True)]
    return sum(a * a for a, _ in pairs), sum(b * b for _, b in pairs), sum(a * b for a, b in pairs)
