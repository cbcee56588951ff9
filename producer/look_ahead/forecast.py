"""The estimate of an experiment: each step's calls, tokens, dollars and hours, as far as they are known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from models.core.experiment.experiment import Experiment
from models.core.pipeline.graph import Slot
from models.core.pipeline.plan import planned_slots, rows_per_call, stage_names
from models.core.pipeline.stages import BARRIER
from producer.look_ahead.duration import ModelLoad, call_seconds, phase_seconds
from producer.look_ahead.known_answers import Job, KnownAnswers, find_known_answers
from producer.look_ahead.projection import ModelUse, Projection, sum_dollars
from storage.database import Database
from storage.schema import TEST, TRAIN

# A standard error of tokens, as a share, and as many rows as are advised at most.
SMALL_ERROR = 0.05
MAX_ROWS = 100


@dataclass(frozen=True, slots=True)
class StepEstimate:
    """A step's calls in one split: `answers` are in the ledger, and `to_buy` are not.

    `uses` are the calls to buy by model, None if no row tells of them. `asked` of `sampled` rows were asked
    for.
    """

    step: str
    split: str
    units: int
    answers: int
    to_buy: float
    uses: tuple[ModelUse, ...] | None
    asked: int = 0
    sampled: int = 0

    @property
    def calls(self) -> float:
        return self.answers + self.to_buy


@dataclass(frozen=True, slots=True)
class Estimate:
    """The calls that an experiment needs beyond those in the ledger; `sampled_from` names the runs whose rows
    tell.

    `rows` are counted by split. `seconds` is None while a step is unknown. `error` is the standard error of
    the tokens.
    """

    experiment: Experiment
    rows: Mapping[str, int]
    steps: tuple[StepEstimate, ...]
    sampled_from: tuple[str, ...]
    seconds: float | None
    error: float

    @property
    def is_known(self) -> bool:
        return all(step.uses is not None for step in self.steps)

    def rests_on(self, rows: int) -> bool:
        """Return whether each step with calls to buy is known from so many rows, if there are so many."""
        return self.is_known and all(
            step.sampled >= min(rows, self.rows[step.split]) for step in self.steps if step.to_buy
        )

    @property
    def answers(self) -> int:
        return sum(step.answers for step in self.steps)

    @property
    def to_buy(self) -> int:
        return round(sum(step.to_buy for step in self.steps))

    @property
    def uses(self) -> list[ModelUse]:
        return [use for step in self.steps for use in step.uses or ()]

    @property
    def unpriced(self) -> tuple[str, ...]:
        """The models to ask whose price is unknown."""
        names = [use.model.name for use in self.uses if use.dollars is None and use.calls]
        return tuple(dict.fromkeys(names))

    @property
    def relative_error(self) -> float:
        """The standard error as a share of the tokens to buy."""
        tokens = sum(use.usage.prompt + use.usage.completion for use in self.uses)
        return self.error / tokens if tokens and self.is_known else 0.0

    @property
    def enough_rows(self) -> int:
        """The number of rows from which the error is small, a multiple of five."""
        sampled = min((step.sampled for step in self.steps if step.sampled), default=0)
        return 5 * math.ceil(min(MAX_ROWS, sampled * (self.relative_error / SMALL_ERROR) ** 2) / 5)

    @property
    def dollars(self) -> float | None:
        """The dollars for all calls; None if tokens or a price are unknown."""
        return sum_dollars(self.uses) if self.is_known else None


def estimate_job(db: Database, job: Job, published_prices: bool = False) -> Estimate:
    """Estimate a job from what the ledger has. With `published_prices`, look for prices that the experiment
    does not give in the package genai-prices."""
    known = find_known_answers(db, job)
    projections = _Projections(job, known)
    steps = tuple(_steps(job, known, projections, published_prices))
    sampled = dict.fromkeys(run for run, _ in known.samples.values())
    seconds = None if any(step.uses is None for step in steps) else _seconds(job.experiment, steps)
    return Estimate(job.experiment, job.rows, steps, tuple(sampled), seconds, projections.error())


class _Projections:
    """The projections of a job, one for each split and sampled run."""

    def __init__(self, job: Job, known: KnownAnswers) -> None:
        self._job = job
        self._known = known
        self._made: dict[tuple[str, str], Projection] = {}
        self._steps: dict[tuple[str, str], dict[str, float]] = {}

    def find(self, split: str, step: str, left: float) -> Projection | None:
        if (split, step) not in self._known.samples:
            return None
        run, sample = self._known.samples[split, step]
        if (split, run) not in self._made:
            self._made[split, run] = Projection(self._job, split, sample, bool(left))
        self._steps.setdefault((split, run), {})[step] = left
        return self._made[split, run]

    def error(self) -> float:
        """Return the standard error of all tokens."""
        squares = (
            self._made[key].error(steps, max(steps.values())) ** 2 for key, steps in self._steps.items()
        )
        return math.sqrt(sum(squares))


def _steps(
    job: Job, known: KnownAnswers, projections: _Projections, published_prices: bool
) -> Iterator[StepEstimate]:
    slots, grouped = planned_slots(job.experiment), rows_per_call(job.experiment)
    for step, split in product(stage_names(job.experiment), job.rows):
        of_step = [slot for slot in slots[split] if slot.stage == step]
        units = sum(1 for slot in of_step if _asks(job.experiment, slot)) * job.rows[split]
        if not units:
            continue
        left = max(0.0, 1 - known.units[split, step] / (len(of_step) * job.rows[split]))
        counted = (step, split, units, known.answers[split, step])
        projection = projections.find(split, step, left)
        if projection:
            uses = tuple(projection.uses(step, left, published_prices))
            asked = len({call.example_id for call in projection.calls(step)})
            yield StepEstimate(*counted, sum(use.calls for use in uses), uses, asked, len(projection.sampled))
        else:
            to_buy = -(-units * left // grouped.get(step, 1))
            yield StepEstimate(*counted, to_buy, None if to_buy else ())


def _asks(experiment: Experiment, slot: Slot) -> bool:
    """Return whether the unit may ask a model."""
    if experiment.steps:
        return bool(experiment.steps[slot.stage].asks)
    if slot.stage == "judge":
        return experiment.judge.correctness == "model"
    return slot.stage != "retrieve" and not slot.gathers


def _seconds(experiment: Experiment, steps: Sequence[StepEstimate]) -> float:
    """Return how long all calls take. Rows go through the steps side by side. The first call is made alone.
    Answers that show worked train rows wait for all of these."""
    answers = [slot for slot in planned_slots(experiment)[TEST] if slot.stage == "answer"]
    waiting = sum(1 for slot in answers if BARRIER in slot.after) / max(1, len(answers))
    first: dict[str, list[ModelLoad]] = {TRAIN: [], TEST: []}
    last: list[ModelLoad] = []
    for step in steps:
        share = waiting if step.step in ("answer", "judge") and not experiment.steps else 0.0
        for load in (use.load for use in step.uses or () if use.calls):
            first[step.split] += [load.part(1 - share)] if share < 1 else []
            last += [load.part(share)] if share else []
    longest = max(first.values(), key=phase_seconds)
    alone = max((load.per_call for load in longest), default=0.0)
    together = call_seconds([*first[TRAIN], *first[TEST]])
    return alone + together + phase_seconds(longest) - call_seconds(longest) + phase_seconds(last)
