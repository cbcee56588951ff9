"""The stage judge: the part of a student's answer that counts, and its correctness."""

from __future__ import annotations

import asyncio

from models.core.answers.extraction import extract_prediction
from models.core.experiment.experiment import Judge
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from storage.ledger.purchases import Purchase
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
        return str(await context.call_module("extract", text))
    return extract_prediction(config.extraction, text)
