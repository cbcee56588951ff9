"""Whether an answer is right, by the run's rule: by its form, by the task folder's own module, or by a judge
model.

Whether an answer meets the tests of its row: run behind the sandbox's wall, beside the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.core.answers.parsers import parse_verdict
from models.core.correctness import Correctness, agree
from models.core.programs import ExecutionVerdict, program
from models.core.types import AnswerTests, Message, Rejection
from storage.ledger.claims import ClaimedUnit
from storage.ledger.purchases import Purchase
from worker.model_calls import UnitReleased, ask_cached
from worker.requests import as_recorded, chat
from worker.run_context import RunContext

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


async def judge_answer(context: RunContext, unit: ClaimedUnit, rule: Correctness, answer: str) -> Judged:
    """What the rule says of `answer` without its rationale. No judge is asked about nothing, nor about the
    reference itself, case and punctuation aside. Raises TaskFolderError where the module breaks."""
    reference = unit.example.reference
    if rule == "module":
        return Judged(await asyncio.to_thread(context.module.correct, answer, reference))
    if rule != "model":
        return Judged(agree(rule, answer, reference))
    if not answer.strip() or agree("text", answer, reference):
        return Judged(bool(answer.strip()))
    return await _by_model(context, unit, context.wording.verdict(unit.example.request, answer, reference))


async def _by_model(context: RunContext, unit: ClaimedUnit, messages: Sequence[Message]) -> Judged:
    """What is no verdict is asked for again. These attempts are no part of the unit's own budget, which
    counts answers; each is in the ledger before the next, so that a unit that is done again pays nothing."""
    model = context.experiment.judge.model
    assert model
    judged = Judged(False)
    for attempt in range(RETRIES + 1):
        if judged.purchase:
            await context.runtime.keep(unit, judged.purchase)
        request = await as_recorded(context, model, chat(model, messages, model.params, (0, attempt)))
        completion, purchase = await ask_cached(context, unit, model, request)
        value = parse_verdict(completion)
        if not isinstance(value, Rejection):
            return Judged(value, request.key, purchase)
        judged = Judged(False, request.key, purchase, value)
    return judged


async def meets_tests(context: RunContext, answer: str, tests: AnswerTests) -> ExecutionVerdict:
    """Raises ServiceError where nothing can be run here, GivenBack where the worker is about to stop."""
    runtime, limits = context.runtime, context.experiment.judge.limits
    made = await asyncio.to_thread(program, answer, tests)
    return await runtime.resources.execute(made, limits, lambda: _go_on(context))


def _go_on(context: RunContext) -> None:
    if context.runtime.stopping.is_set():
        raise UnitReleased


async def reference_meets_tests(
    context: RunContext, unit: ClaimedUnit, tests: AnswerTests
) -> ExecutionVerdict:
    """As `meets_tests`, once for all answers to an example that this process judges."""
    known = context.references.get(unit.example_id)
    if known is None:
        known = asyncio.ensure_future(meets_tests(context, unit.example.reference, tests))
        context.references[unit.example_id] = known
    try:
        return await known
    except BaseException:
        context.references.pop(unit.example_id, None)
        raise


def stored_verdict(verdict: ExecutionVerdict) -> dict[str, Any]:
    """What of a verdict belongs into the ledger."""
    return {"outcome": verdict.outcome, "detail": verdict.detail, "seconds": round(verdict.seconds, 3)}
