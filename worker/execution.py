"""Whether an answer meets the tests of its row: run behind the sandbox's wall, beside the loop."""

from __future__ import annotations

import asyncio
from typing import Any

from models.execution import Verdict
from models.programs import program
from models.types import AnswerTests
from storage.ledger.claims import Work
from worker.calling import GivenBack
from worker.context import RunContext


async def meets_tests(context: RunContext, answer: str, tests: AnswerTests) -> Verdict:
    """Raises ServiceError where nothing can be run here, GivenBack where the worker is about to stop."""
    runtime, limits = context.runtime, context.experiment.judge.limits
    made = await asyncio.to_thread(program, answer, tests)
    return await runtime.resources.execute(made, limits, lambda: _go_on(context))


def _go_on(context: RunContext) -> None:
    if context.runtime.stopping.is_set():
        raise GivenBack


async def reference_meets_tests(context: RunContext, work: Work, tests: AnswerTests) -> Verdict:
    """As `meets_tests`, once for all answers to an example that this process judges."""
    known = context.references.get(work.example_id)
    if known is None:
        known = asyncio.ensure_future(meets_tests(context, work.example.reference, tests))
        context.references[work.example_id] = known
    try:
        return await known
    except BaseException:
        context.references.pop(work.example_id, None)
        raise


def stored(verdict: Verdict) -> dict[str, Any]:
    """What of a verdict belongs into the ledger."""
    return {"outcome": verdict.outcome, "detail": verdict.detail, "seconds": round(verdict.seconds, 3)}
