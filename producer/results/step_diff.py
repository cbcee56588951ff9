"""The difference of two runs of steps: the rows whose verdict or score changed, step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from models.core.metrics.paired_effects import paired_effects
from models.core.metrics.significance import mcnemar
from models.core.row_values import canonical_text
from models.core.words import question_group
from producer.results.differences import Comparison, Difference, correct_family
from producer.results.step_verdicts import RIGHT, measured
from storage.database import Database
from storage.ledger.runs import Run
from storage.ledger.step_units import step_units

EXAMPLES = 3
# The hash of the columns of a row, and the number of equal rows before it.
RowContent = tuple[int, int]
# Of a step and what is measured of it, such as ("critique", "score").
StepMeasure = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """A row of the first run with its value in both; a verdict is 1 or 0, that of samples their mean."""

    split: str
    row: int
    question_id: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class StepChange:
    """A verdict or score of a step on the `n` rows that both runs have, with the means of both.

    `fell` rows have a lower value in the second run, `rose` rows a higher one; `p_value` is of the exact sign
    test, which for verdicts is McNemar's. The `difference` of verdicts is in percent points.
    """

    step: str
    measure: str
    n: int
    before: float
    after: float
    fell: int
    rose: int
    p_value: float
    difference: Difference
    fell_examples: tuple[ChangedRow, ...]
    rose_examples: tuple[ChangedRow, ...]


@dataclass(slots=True)
class StepValues:
    """The values of a run by what is measured and by row, and where each row stands."""

    places: dict[RowContent, tuple[str, int, str]] = field(default_factory=dict)
    values: dict[StepMeasure, dict[RowContent, float]] = field(default_factory=dict)


def read_values(db: Database, run: Run) -> StepValues:
    """Read the mean of each row's verdicts and scores. Memory grows with the rows, by a few numbers each."""
    read = StepValues()
    repeats: Counter[int] = Counter()
    for row in step_units(db, run):
        content = hash(canonical_text(row.columns))
        key = (content, repeats[content])
        repeats[content] += 1
        read.places[key] = (row.split, row.number, row.question_id)
        for measure, values in measured(run.experiment.steps, row).items():
            read.values.setdefault(measure, {})[key] = sum(values) / len(values)
    return read


def step_changes(first: StepValues, second: StepValues) -> tuple[StepChange, ...]:
    """Compare what both runs measure, on the rows that both have."""
    pairs: dict[StepMeasure, ValuePairs] = {}
    for measure, before in first.values.items():
        after = second.values.get(measure, {})
        if keys := [key for key in before if key in after]:
            rows = [ChangedRow(*first.places[key], before[key], after[key]) for key in keys]
            pairs[measure] = ValuePairs(rows)
    compared_measures = [of_both.compare(measure) for measure, of_both in pairs.items()]
    return tuple(
        of_both.change(measure, compared.differences[measure[1]])
        for (measure, of_both), compared in zip(pairs.items(), correct_family(compared_measures), strict=True)
    )


@dataclass(frozen=True, slots=True)
class ValuePairs:
    """The rows that have a value of one measure in both runs, at least one."""

    rows: Sequence[ChangedRow]

    @property
    def fell(self) -> list[ChangedRow]:
        return [row for row in self.rows if row.after < row.before]

    @property
    def rose(self) -> list[ChangedRow]:
        return [row for row in self.rows if row.after > row.before]

    @property
    def p_value(self) -> float:
        return mcnemar(len(self.fell), len(self.rose))

    def compare(self, measure: StepMeasure) -> Comparison:
        """Return the difference of the means, with the p-value of the sign test, before it is corrected."""
        unit = 100.0 if measure[1] == RIGHT else 1.0
        sides = ([[row.before, 1] for row in self.rows], [[row.after, 1] for row in self.rows])
        questions = np.unique([question_group(row.question_id) for row in self.rows], return_inverse=True)[1]
        means = {measure[1]: lambda sums: unit * sums[..., 0] / sums[..., 1]}
        [effect] = paired_effects(*sides, means, clusters=questions, shuffles=0).values()
        effect = replace(effect, p_value=self.p_value, p_is_bound=False)
        n = len(self.rows)
        return Comparison.of_effects(n, n, len(np.unique(questions)), {measure[1]: effect})

    def change(self, measure: StepMeasure, difference: Difference) -> StepChange:
        n, fell, rose = len(self.rows), self.fell, self.rose
        means = (sum(row.before for row in self.rows) / n, sum(row.after for row in self.rows) / n)
        return StepChange(
            *measure, n, *means, len(fell), len(rose), self.p_value, difference,
            tuple(fell[:EXAMPLES]), tuple(rose[:EXAMPLES]),
        )  # fmt: skip
