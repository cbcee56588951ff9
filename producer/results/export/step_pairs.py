"""Pairs of answers of a pipeline of steps, for preference training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from models.core.errors import UsageError
from models.core.kinds.order import read_steps, sample_counts
from models.core.kinds.step import StepSettings, as_text
from models.core.types import JSON
from producer.results.export.columns import in_batches
from storage.database import Database
from storage.ledger.queries import reasonings, request_bodies
from storage.ledger.runs import Run
from storage.ledger.step_units import StepRow, StepUnit, step_units

STEP_PAIR = ("prompt", "chosen", "rejected", "score_chosen", "score_rejected")
THOUGHTS = ("reasoning", "rejected_reasoning")


@dataclass(frozen=True, slots=True)
class RankedAnswer:
    """A text with its score, and the unit that wrote it if that is known."""

    text: str
    score: float
    unit: StepUnit | None


@dataclass(frozen=True, slots=True)
class Contest:
    """The step that tells good answers from bad ones, and the steps whose values it ranks."""

    step: str
    ranked: tuple[str, ...]
    is_vote: bool

    def pair(self, steps: Mapping[str, StepSettings], row: StepRow) -> tuple[RankedAnswer, ...]:
        """Return a chosen and a rejected answer, or nothing."""
        return self._voted(row) if self.is_vote else self._judged(steps[self.step], row)

    def _voted(self, row: StepRow) -> tuple[RankedAnswer, ...]:
        result = row.units[self.step][0].result if row.units[self.step] else {}
        if result.get("value") is None or "rejected" not in result:
            return ()
        return (
            self._answer(row, result["value"], result["score"]),
            self._answer(row, result["rejected"], result["rejected_score"]),
        )

    def _answer(self, row: StepRow, value: Any, score: float) -> RankedAnswer:
        units = (unit for step in self.ranked for unit in row.units.get(step, ()))
        unit = next((each for each in units if each.result.get("value") == value), None)
        return RankedAnswer(_text(unit) if unit else as_text(value), score, unit)

    def _judged(self, judge: StepSettings, row: StepRow) -> tuple[RankedAnswer, ...]:
        samples = {unit.sample: unit for unit in row.units[self.ranked[0]] if unit.result}
        answers: dict[bool, RankedAnswer] = {}
        for verdict in row.units[self.step]:
            right, unit = judge.is_right(verdict.result), samples.get(verdict.sample)
            if right is not None and unit:
                answers.setdefault(right, RankedAnswer(_text(unit), int(right), unit))
        return (answers[True], answers[False]) if len(answers) == 2 else ()


def pair_rows(db: Database, run: Run, *, reasoning: bool = False) -> Iterator[JSON]:
    """Yield a row of the keys STEP_PAIR and the columns of the data for each row that has a chosen and a
    rejected answer, as TRL's DPOTrainer reads them.

    They are those of the last vote by scores or, without one, of the last judge of samples by right or wrong.
    `prompt` holds the messages that asked for the answers. Columns of the data with the name of an own key
    are left out. Raise UsageError if no step ranks answers.
    """
    steps = run.experiment.steps
    contest = _contest(run)
    asked = _asked_step(steps, contest.ranked[0])
    own = (*STEP_PAIR, *(THOUGHTS if reasoning else ()))
    for batch in in_batches(step_units(db, run)):
        pairs = [(row, pair) for row in batch if (pair := contest.pair(steps, row))]
        requests = request_bodies(
            db, [unit.generation for row, _ in pairs for unit in row.units[asked] if unit.generation]
        )
        thoughts = reasonings(db, [_key(each) for _, pair in pairs for each in pair]) if reasoning else {}
        for row, pair in pairs:
            body = next((requests[key] for key in _generations(row, asked) if key in requests), None)
            if body is None:
                continue
            values = [*_conversation(body, *(each.text for each in pair)), *(each.score for each in pair)]
            values += [thoughts.get(_key(each)) for each in pair] if reasoning else []
            others = {name: value for name, value in row.columns.items() if name not in own}
            yield {**dict(zip(own, values, strict=True)), **others}


def _contest(run: Run) -> Contest:
    steps = run.experiment.steps
    counts = sample_counts(steps)
    for name, step in reversed(steps.items()):
        if step.compares:
            return Contest(name, tuple(each.partition(".")[0] for each in step.compares), True)
    for name, step in reversed(steps.items()):
        judged = [each for each in read_steps(steps, name) if counts[each] > 1]
        if step.verdict == "correct" and counts[name] > 1 and judged:
            return Contest(name, (judged[-1],), False)
    raise UsageError(
        f"run {run.id} has no pairs: none of its steps is a vote by a score, such as "
        "best: {of: draft, by: critique.score}, or a judge of several samples by right or wrong"
    )


def _asked_step(steps: Mapping[str, StepSettings], name: str) -> str:
    """Return the step that asks a model for a column: its own, or the first that it rests on."""
    waiting = [name]
    for each in waiting:
        if each in steps and steps[each].asks:
            return each
        waiting += read_steps(steps, each) if each in steps else []
    raise UsageError(f"{name} has no pairs: no model was asked for it")


def _generations(row: StepRow, step: str) -> Iterator[str]:
    return (unit.generation for unit in row.units[step] if unit.generation)


def _key(answer: RankedAnswer) -> str:
    return (answer.unit.generation if answer.unit else None) or ""


def _text(unit: StepUnit) -> str:
    """Return what the model wrote: of an extracted answer, the text around it."""
    return as_text(unit.result.get("text", unit.result.get("value")))


def _conversation(body: JSON, chosen: str, rejected: str) -> tuple[Any, Any, Any]:
    """Return prompt and answers as messages, or as texts if the model was asked without a chat template."""
    if "messages" not in body:
        return body["prompt"], chosen, rejected
    return (
        body["messages"],
        [{"role": "assistant", "content": chosen}],
        [{"role": "assistant", "content": rejected}],
    )
