"""The correctness of an answer by the run's rule: its form, the task folder's module, a judge model, or the
tests of its row, which run in the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.core.answers.checks import REASONS
from models.core.answers.verdicts import parse_verdict
from models.core.correctness import Correctness, same_answer
from models.core.programs import ExecutionVerdict, build_program
from models.core.types import AnswerTests, Message, Rejection
from storage.ledger.claims import ClaimedUnit
from storage.ledger.purchases import Purchase
from worker.model_calls import ask_cached
from worker.requests import as_recorded, chat
from worker.run_context import RunContext, once_per_run
from worker.waits import UnitReleased

RETRIES = 2


@dataclass(frozen=True, slots=True)
class Judged:
    """`rejection` says why a judge model gave no verdict; `purchase` has to be committed with the unit.
    `generation` is the judge model's answer, None if it was not asked."""

    right: bool
    generation: str | None = None
    purchase: Purchase | None = None
    rejection: Rejection | None = None

    def stored(self) -> dict[str, Any]:
        """Return a judge model's verdict in the form that the ledger stores."""
        if self.generation is None:
            return {}
        verdict = self.rejection.reason if self.rejection else "right" if self.right else "wrong"
        return {"verdict": {"said": verdict, "generation": self.generation}}


async def judge_answer(context: RunContext, unit: ClaimedUnit, rule: Correctness, answer: str) -> Judged:
    """Judge `answer`, which is without its rationale, by the rule. A judge model is not asked about an empty
    answer, nor about the reference itself (but for case and punctuation). Raise TaskFolderError if the module
    breaks."""
    reference = unit.example.reference
    if rule == "module":
        return Judged(bool(await context.call_module("correct", answer, reference)))
    if rule != "model":
        return Judged(same_answer(rule, answer, reference))
    if not answer.strip() or same_answer("text", answer, reference):
        return Judged(bool(answer.strip()))
    example = unit.example
    messages = context.wording.verdict(example.request, answer, reference, example.columns)
    return await _by_model(context, unit, messages)


async def _by_model(context: RunContext, unit: ClaimedUnit, messages: Sequence[Message]) -> Judged:
    """Ask again after an answer that is no verdict. These attempts do not use up the unit's own budget.
    Each is stored before the next, so that a repeated unit pays nothing."""
    model = context.experiment.judge.model
    assert model
    judged = Judged(False)
    for attempt in range(RETRIES + 1):
        if judged.purchase:
            await context.ledger.keep(unit, judged.purchase)
        request = await as_recorded(context, model, chat(model, messages, model.params, (0, attempt)))
        completion, purchase = await ask_cached(context, unit, model, request)
        value = parse_verdict(completion)
        if not isinstance(value, Rejection):
            return Judged(value, request.key, purchase)
        judged = Judged(False, request.key, purchase, value)
        if REASONS[value.reason].final:
            return judged
    return judged


async def meets_tests(context: RunContext, answer: str, tests: AnswerTests) -> ExecutionVerdict:
    """Raise ServiceError if this machine can run no programs, UnitReleased if the worker stops."""

    def require_running() -> None:
        if context.stopping.is_set():
            raise UnitReleased

    built = await asyncio.to_thread(build_program, answer, tests)
    return await context.clients.execute(built, context.experiment.judge.limits, require_running)


# A reference is executed once for all answers to its example that this process judges.
reference_meets_tests = once_per_run(meets_tests)


def stored_verdict(verdict: ExecutionVerdict) -> dict[str, Any]:
    """Return a verdict in the form that the ledger stores."""
    return {"outcome": verdict.outcome, "detail": verdict.detail, "seconds": round(verdict.seconds, 3)}
