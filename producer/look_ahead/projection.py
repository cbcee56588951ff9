"""The calls of all rows, as those of a sample were."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

from models.core.experiment.endpoints import Model
from models.core.experiment.experiment import Experiment
from models.core.types import Usage
from producer.look_ahead.duration import ModelLoad
from producer.look_ahead.known_answers import Job
from producer.look_ahead.prices import price_of
from producer.look_ahead.row_lengths import RowLengths, StepRows, residual, trend
from storage.ledger.purchases import cost_nano_usd
from storage.ledger.row_samples import Sample, SampledCall


@dataclass(frozen=True, slots=True)
class ModelUse:
    """Calls of one model that are to be bought. `dollars` is None if the price is unknown."""

    model: Model
    calls: float
    usage: Usage
    seconds: float
    dollars: float | None

    @property
    def load(self) -> ModelLoad:
        return ModelLoad(self.model, self.calls, self.usage.prompt + self.usage.completion, self.seconds)


def sum_dollars(uses: Iterable[ModelUse]) -> float | None:
    """Return the dollars of all calls, None if a price is unknown."""
    amounts = [use.dollars for use in uses if use.calls]
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


class Projection:
    """The rows of a split as a sample of them tells. `reads_all` compares their lengths with those of the
    sample."""

    def __init__(self, job: Job, split: str, sample: Sample, reads_all: bool) -> None:
        self.sampled = sample.rows[split]
        self._experiment = job.experiment
        self._rows = job.rows[split]
        self._calls = [call for call in sample.calls if call.split == split]
        lengths = RowLengths(job.experiment)
        self._length = {example_id: lengths.length(row) for example_id, row in self.sampled}
        self._of_sample = lengths.by_step(row for _, row in self.sampled)
        differs = reads_all and len(self.sampled) < self._rows
        self._of_all = lengths.by_step(job.splits[split]) if differs else self._of_sample

    def calls(self, step: str) -> list[SampledCall]:
        return [call for call in self._calls if call.stage == step]

    def uses(self, step: str, left: float, published_prices: bool) -> Iterator[ModelUse]:
        """Yield the calls of a step by model for the share `left` of all rows."""
        rows = self._rest(step, left)
        times = rows.share / (self._of_sample[step].share or 1.0) * self._rows * left / len(self.sampled)
        longer = rows.length - self._of_sample[step].length
        calls = sorted(self.calls(step), key=lambda call: call.model)
        for name, group in groupby(calls, lambda call: call.model):
            of_model = list(group)
            model = _model_named(self._experiment, step, name)
            usage, number = self._usage(of_model, times, longer), sum(call.part for call in of_model)
            price = price_of(model, published_prices)
            dollars = None if price is None else cost_nano_usd(usage, price) / 1e9
            yield ModelUse(model, number * times, usage, number * times * _mean_seconds(of_model), dollars)

    def _rest(self, step: str, left: float) -> StepRows:
        """Return the rows that are left, if those that are not are like the sample."""
        whole, done = self._of_all[step], self._of_sample[step]
        asked = whole.share - done.share * (1 - left)
        if not left or asked <= 0:
            return StepRows(0.0, done.length)
        length = (whole.share * whole.length - done.share * (1 - left) * done.length) / asked
        return StepRows(asked / left, length)

    def error(self, steps: Collection[str], left: float) -> float:
        """Return the standard error of the tokens for the share `left` of all rows."""
        tokens = dict.fromkeys((row for row, _ in self.sampled), 0.0)
        for call in self._calls:
            if call.stage in steps:
                tokens[call.example_id] += call.part * (call.prompt + call.completion)
        unexplained = residual([self._length[row] for row in tokens], list(tokens.values()))
        # Few rows tell little of how much rows differ, as Student's distribution has it.
        return self._rows * left * math.sqrt(unexplained / len(tokens)) * (1 + 2 / len(tokens))

    def _usage(self, calls: Sequence[SampledCall], times: float, longer: float) -> Usage:
        """Return so many times the tokens of these calls, for rows that are `longer` on average."""
        rows = sorted({call.example_id for call in calls})
        lengths = [self._length[row] for row in rows]

        def total(name: str) -> int:
            tokens = dict.fromkeys(rows, 0.0)
            for call in calls:
                tokens[call.example_id] += call.part * getattr(call, name)
            values = list(tokens.values())
            grown = fmean(values) + longer * trend(lengths, values)
            return max(0, round(grown * len(rows) * times))

        return Usage(total("prompt"), total("cached"), total("completion"))


def _mean_seconds(calls: Sequence[SampledCall]) -> float:
    return fmean([call.seconds for call in calls if call.seconds is not None] or [0.0])


def _model_named(experiment: Experiment, step: str, name: str) -> Model:
    """Return the model of this name at its provider, the step's own if it has it."""
    own = [experiment.model(experiment.steps[step].asks)] if experiment.steps else []
    models = [*own, *experiment.asked]
    return next((model for model in models if model.model_name == name), models[0])
