"""The stage judge: the part of a student's answer that counts, and its correctness.

Also the vote on the samples of an example, self-consistency (Wang et al., 2022), which asks no model.
"""

from __future__ import annotations

import asyncio

from models.core.answers.extraction import extract_prediction
from models.core.correctness import form_of, majority
from models.core.experiment.experiment import Judge
from storage.ledger import exemplars
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from storage.ledger.purchases import Purchase
from storage.schema import NO_SAMPLES
from worker.judging import judge_answer, meets_tests, reference_meets_tests, stored_verdict
from worker.run_context import RunContext


async def judge(context: RunContext, units: list[ClaimedUnit]) -> list[UnitOutcome]:
    config = context.experiment.judge
    return [await _judge(context, unit, config) for unit in units]


async def _judge(context: RunContext, unit: ClaimedUnit, config: Judge) -> UnitOutcome:
    prediction = await _prediction(context, config, unit.inputs["answer", unit.variant, unit.sample]["text"])
    result = {"prediction": prediction, "exact_match": prediction == unit.example.reference}
    generation: str | None = None
    purchase: Purchase | None = None
    if config.correctness:
        judged = await judge_answer(context, unit, config.correctness, prediction)
        if judged.rejection:
            return context.rejected(unit, judged.rejection, judged.generation, judged.purchase)
        result |= {"correct": judged.right, **judged.stored()}
        generation, purchase = judged.generation, judged.purchase
    if config.execution and unit.example.tests:
        reference, verdict = await asyncio.gather(
            reference_meets_tests(context, unit.example.reference, unit.example.tests),
            meets_tests(context, prediction, unit.example.tests),
        )
        result |= {"execution": stored_verdict(verdict), "reference_execution": stored_verdict(reference)}
    return context.done(unit, result, generation=generation, purchase=purchase)


async def _prediction(context: RunContext, config: Judge, text: str) -> str:
    if config.extraction == "module":
        return await asyncio.to_thread(context.module.extract, text)
    return extract_prediction(config.extraction, text)


async def vote(context: RunContext, unit: ClaimedUnit) -> UnitOutcome:
    """Make the elected sample the example's rationale; its generation is the one that counts."""
    samples = await context.ledger(exemplars.answered_samples, unit)
    if not samples:
        drawn = context.experiment.rationale.samples
        return context.failed(unit, NO_SAMPLES, f"none of {drawn} samples brought an answer")
    form = form_of(context.experiment.rationale.correctness)
    result = majority([sample.result["answer"] for sample in samples], form)
    elected = samples[result.index]
    votes = {"samples": result.samples, "winner": result.winner, "groups": result.groups}
    final = elected.result["correct"] and await enough(context, unit)
    return context.done(unit, {**elected.result, "votes": votes}, correct=final,
                        generation=elected.generation)  # fmt: skip


async def enough(context: RunContext, unit: ClaimedUnit) -> bool:
    """Return true if a right rationale is the last that its example needs."""
    wanted = context.experiment.rationale.stop_at
    return wanted == 1 or 1 + await context.ledger(exemplars.count_right_before, unit) >= wanted
