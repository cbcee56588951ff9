"""What each stage does with a unit: inputs from the ledger in, one Outcome out, unless it is parked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from storage.ledger.claims import Work
from storage.ledger.outcomes import Outcome
from worker.context import RunContext
from worker.steps.answer import answer
from worker.steps.augment import augment
from worker.steps.judge import judge
from worker.steps.rationale import rationale, rationalize
from worker.steps.retrieve import retrieve

STEPS: dict[str, Callable[[RunContext, Work], Awaitable[Outcome]]] = {
    "rationale": rationale,
    "rationalize": rationalize,
    "answer": answer,
}
BATCH_STEPS: dict[str, Callable[[RunContext, list[Work]], Awaitable[list[Outcome]]]] = {
    "augment": augment,
    "retrieve": retrieve,
    "judge": judge,
}
