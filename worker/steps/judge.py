"""judge: what of a student's answer counts, and whether it is right."""

from __future__ import annotations

import asyncio

from models.answers import extract_prediction
from models.experiment import Judge
from storage.ledger.claims import Work
from storage.ledger.generations import Purchase
from storage.ledger.outcomes import Outcome
from worker.context import RunContext
from worker.execution import meets_tests, reference_meets_tests, stored
from worker.judging import judge_answer


async def judge(context: RunContext, works: list[Work]) -> list[Outcome]:
    config = context.experiment.judge
    return [await _judge(context, work, config) for work in works]


async def _judge(context: RunContext, work: Work, config: Judge) -> Outcome:
    prediction = await _prediction(context, config, work.inputs["answer", work.variant, work.sample]["text"])
    result = {"prediction": prediction, "exact_match": prediction == work.example.reference}
    generation: str | None = None
    purchase: Purchase | None = None
    if config.correctness:
        judged = await judge_answer(context, work, config.correctness, prediction)
        if judged.rejection:
            return context.failed(work, judged.rejection.reason, judged.rejection.detail,
                                  generation=judged.generation, purchase=judged.purchase,
                                  rejection=judged.rejection)  # fmt: skip
        result |= {"correct": judged.right, **judged.stored()}
        generation, purchase = judged.generation, judged.purchase
    if config.execution and work.example.tests:
        reference, verdict = await asyncio.gather(
            reference_meets_tests(context, work, work.example.tests),
            meets_tests(context, prediction, work.example.tests),
        )
        result |= {"execution": stored(verdict), "reference_execution": stored(reference)}
    return context.done(work, result, generation=generation, purchase=purchase)


async def _prediction(context: RunContext, config: Judge, text: str) -> str:
    if config.extraction == "module":
        return await asyncio.to_thread(context.module.extract, text)
    return extract_prediction(config.extraction, text)
