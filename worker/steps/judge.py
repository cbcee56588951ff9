"""judge: what of a student's answer counts, and whether it is right."""

from __future__ import annotations

import asyncio

from models.answers import extract_prediction
from models.experiment import Judge
from storage.ledger.claims import Work
from storage.ledger.outcomes import Outcome
from worker.context import RunContext
from worker.execution import meets_tests, reference_meets_tests, stored


async def judge(context: RunContext, works: list[Work]) -> list[Outcome]:
    config = context.experiment.judge
    return [await _judge(context, work, config) for work in works]


async def _judge(context: RunContext, work: Work, config: Judge) -> Outcome:
    answer = work.inputs["answer", work.variant, work.sample]
    prediction = extract_prediction(config.extraction, answer["text"])
    result = {"prediction": prediction, "exact_match": prediction == work.example.reference}
    if config.execution and work.example.tests:
        reference, verdict = await asyncio.gather(
            reference_meets_tests(context, work, work.example.tests),
            meets_tests(context, prediction, work.example.tests),
        )
        result |= {"execution": stored(verdict), "reference_execution": stored(reference)}
    return context.done(work, result)
