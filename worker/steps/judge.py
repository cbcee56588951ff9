"""judge: what of a student's answer counts, and whether it is right."""

from __future__ import annotations

from models.answers import extract_prediction
from models.experiment import Judge
from storage.ledger.claims import Work
from storage.ledger.outcomes import Outcome
from worker.context import RunContext


async def judge(context: RunContext, works: list[Work]) -> list[Outcome]:
    config = context.experiment.judge
    return [_judge(context, work, config) for work in works]


def _judge(context: RunContext, work: Work, config: Judge) -> Outcome:
    answer = work.inputs["answer", work.variant, work.sample]
    prediction = extract_prediction(config.extraction, answer["text"])
    result = {"prediction": prediction, "exact_match": prediction == work.example.reference}
    return context.done(work, result)
