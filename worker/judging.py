"""Whether an answer is right, by the run's rule: by its form, by the task folder's own module, or by a judge
model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.answers import parse_verdict
from models.judges import Correctness, agree
from models.types import Message, Rejection
from storage.ledger.claims import Work
from storage.ledger.generations import Purchase
from worker.asking import ask
from worker.context import RunContext
from worker.replaying import as_recorded
from worker.steps.requests import chat

RETRIES = 2


@dataclass(frozen=True, slots=True)
class Judged:
    """`rejection` is why a judge model gave no verdict, `purchase` what is to be committed with the unit.
    `generation` is what it answered, None where it was not asked."""

    right: bool
    generation: str | None = None
    purchase: Purchase | None = None
    rejection: Rejection | None = None

    def stored(self) -> dict[str, Any]:
        """What of a judge model's verdict belongs into the ledger."""
        if self.generation is None:
            return {}
        said = self.rejection.reason if self.rejection else "right" if self.right else "wrong"
        return {"verdict": {"said": said, "generation": self.generation}}


async def judge_answer(context: RunContext, work: Work, rule: Correctness, answer: str) -> Judged:
    """What the rule says of `answer` without its rationale. No judge is asked about nothing, nor about the
    reference itself, case and punctuation aside. Raises TaskFolderError where the module breaks."""
    reference = work.example.reference
    if rule == "module":
        return Judged(await asyncio.to_thread(context.module.correct, answer, reference))
    if rule != "model":
        return Judged(agree(rule, answer, reference))
    if not answer.strip() or agree("text", answer, reference):
        return Judged(bool(answer.strip()))
    return await _by_model(context, work, context.wording.verdict(work.example.request, answer, reference))


async def _by_model(context: RunContext, work: Work, messages: Sequence[Message]) -> Judged:
    """What is no verdict is asked for again. These attempts are no part of the unit's own budget, which
    counts answers; each is in the ledger before the next, so that a unit that is done again pays nothing."""
    model = context.experiment.judge.model
    assert model
    judged = Judged(False)
    for attempt in range(RETRIES + 1):
        if judged.purchase:
            await context.runtime.keep(work, judged.purchase)
        request = await as_recorded(context, model, chat(model, messages, model.params, (0, attempt)))
        completion, purchase = await ask(context, work, model, request)
        value = parse_verdict(completion)
        if not isinstance(value, Rejection):
            return Judged(value, request.key, purchase)
        judged = Judged(False, request.key, purchase, value)
    return judged
