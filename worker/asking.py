"""One question to a model: looked up, claimed, bought, checked, and asked again where that helps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from models.answers import REASONS
from models.endpoints import Teacher
from models.errors import BadRequest, BudgetUsedUp, ContextOverflow
from models.students import Student
from models.types import Completion, Rejection, Request, Usage
from storage.ledger import counts, filing, generations
from storage.ledger.claims import Work
from storage.ledger.filing import Refusal
from storage.ledger.generations import Call, Found, OverBudget, Purchase, cost_nano_usd
from worker.calling import make_call, require_running
from worker.context import RunContext
from worker.replaying import as_recorded, require_as_recorded

HARD_RETRIES = 3
BUSY_SECONDS = 0.5
T = TypeVar("T")


class Parked(Exception):
    """The unit waits in the ledger for an answer that comes with a batch; its worker is free."""


@dataclass(frozen=True, slots=True)
class Asked(Generic[T]):
    """`value` is the accepted answer, or the Rejection that used up the budget. `work` counts the
    rejections so far; `purchase` is None where the answer was already in the ledger."""

    work: Work
    value: T | Rejection
    completion: Completion
    generation: str
    purchase: Purchase | None


async def ask_until_accepted(
    context: RunContext,
    work: Work,
    endpoint: Teacher | Student,
    render: Callable[[int], Request],
    parse: Callable[[Completion], T | Rejection],
    soft_retries: int,
) -> Asked[T]:
    """`render` gets the number of the attempt. Soft rejections (wrong form) and hard ones (no usable
    answer at all) have budgets of their own size; a unit that was interrupted goes on where it was."""
    while True:
        request = await as_recorded(context, endpoint, render(work.rejections), work)
        completion, purchase = await ask(context, work, endpoint, request)
        try:
            value = parse(completion)
        except Exception:
            if purchase:  # the row is lost, the answer and its price are not
                await context.runtime.keep(work, purchase)
            raise
        asked = Asked(work, value, completion, request.key, purchase)
        if not isinstance(value, Rejection):
            return asked
        budget = soft_retries if REASONS[value.reason].soft else HARD_RETRIES
        if work.rejections - work.budget_from >= budget:
            return asked
        await context.runtime.reject(work, value, request.key, purchase)
        work = replace(work, rejections=work.rejections + 1)


async def ask(
    context: RunContext,
    work: Work,
    endpoint: Teacher | Student,
    request: Request,
    together: Sequence[Work] = (),
) -> tuple[Completion, Purchase | None]:
    """The answer from the ledger, or bought now; then the Purchase is the caller's to commit.

    `together` are the units that a common call is asked for, `work` the first of them. Raises GivenBack,
    Parked, AccessError, BadRequest, BudgetUsedUp.
    """
    runtime = context.runtime
    expected = runtime.resources.line(endpoint).estimate.usage(request)
    capped = context.experiment.budget_usd is not None
    call = Call(work, request, cost_nano_usd(expected, endpoint.price) if capped else 0)
    in_batches = isinstance(endpoint, Teacher) and endpoint.delivery == "batch"
    while True:
        found: Found | Refusal
        if in_batches:
            found = await runtime.ledger(
                filing.file_and_park, runtime.owner, together or [work], call, runtime.clock()
            )
        else:
            found = await runtime.reserve(call)
        if isinstance(found, Completion):
            require_as_recorded(context, endpoint, request, found)
            return found, None
        if isinstance(found, Refusal):
            raise (ContextOverflow if found.reason == "context_overflow" else BadRequest)(found.detail)
        if isinstance(found, OverBudget):
            spent = await runtime.ledger(counts.spending, context.run.id)
            raise BudgetUsedUp(_used_up(context, spent.dollars))
        if found is None and in_batches:
            raise Parked
        if found is None:
            return await _buy(context, endpoint, call, expected)
        await runtime.pause(BUSY_SECONDS)
        await require_running(context)


async def _buy(
    context: RunContext, endpoint: Teacher | Student, call: Call, expected: Usage
) -> tuple[Completion, Purchase]:
    runtime, request = context.runtime, call.request
    try:
        completion, seconds = await make_call(context, endpoint, request, expected)
    except (Exception, asyncio.CancelledError):
        await runtime.ledger(generations.abandon, runtime.owner, request.key)
        raise
    runtime.resources.line(endpoint).estimate.learn(request, completion.usage)
    completion = generations.storable(completion)
    cost = cost_nano_usd(completion.usage, endpoint.price)
    return completion, Purchase(request, completion, cost, seconds, call.hold)


def _used_up(context: RunContext, spent: float) -> str:
    run, budget = context.run.id, context.experiment.budget_usd
    return (
        f"budget_usd {budget} does not allow another call ({spent:.4f} are spent); "
        f"raise it with `starmill resume {run} --budget-usd AMOUNT`"
    )
