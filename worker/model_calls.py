"""Model calls: an answer is looked up in the ledger, or bought within the limits that all workers share,
checked, and asked for again if that helps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from models.core import errors
from models.core.answers.checks import REASONS
from models.core.answers.cleaning import clean_completion
from models.core.display import usd
from models.core.experiment.endpoints import Model, Price
from models.core.types import Completion, Rejection, Request, Usage
from storage.ledger import batch_enqueue, counts, purchases
from storage.ledger.batch_enqueue import BatchRefusal
from storage.ledger.budget import read_budget
from storage.ledger.claims import ClaimedUnit
from storage.ledger.purchases import Busy, CallClaim, OverBudget, Purchase, ReserveResult, cost_nano_usd
from worker.call_retries import call_with_retries, may_be_billed
from worker.model_health import CallFailures
from worker.requests import as_recorded, require_as_recorded
from worker.run_context import RunContext
from worker.waits import pause, require_running

HARD_RETRIES = 3
BUSY_SECONDS = 0.5
T = TypeVar("T")


class AwaitingBatch(Exception):
    """The unit waits in the ledger for the answer of a batch; its worker is free."""


@dataclass(frozen=True, slots=True)
class CheckedAnswer(Generic[T]):
    """`value` is the accepted answer, or the Rejection that used up the budget. `unit` counts the rejections
    so far. `purchase` is None if the answer was in the ledger already."""

    unit: ClaimedUnit
    value: T | Rejection
    completion: Completion
    generation: str
    purchase: Purchase | None


async def ask_until_accepted(
    context: RunContext,
    unit: ClaimedUnit,
    endpoint: Model,
    render: Callable[[int], Request],
    parse: Callable[[Completion], T | Rejection],
    soft_retries: int = 0,
    budgets: Mapping[str, int] | None = None,
) -> CheckedAnswer[T]:
    """Ask until `parse` accepts the answer or the budget is used up. `render` gets the number of the attempt.

    `budgets` are the numbers of new calls by the reason of a rejection; without them soft rejections (wrong
    form) and hard ones (no usable answer) have separate ones. An interrupted unit continues with the attempt
    at which it was.
    """
    while True:
        request = await as_recorded(context, endpoint, render(unit.rejections), unit)
        completion, purchase = await ask_cached(context, unit, endpoint, request)
        try:
            value = parse(completion)
        except Exception:
            if purchase:  # the unit fails, but the answer and its price are stored
                await context.ledger.keep(unit, purchase)
            raise
        answer = CheckedAnswer(unit, value, completion, request.key, purchase)
        await _note(context, endpoint, answer)
        if not isinstance(value, Rejection) or REASONS[value.reason].final:
            return answer
        budget = soft_retries if REASONS[value.reason].soft else HARD_RETRIES
        if budgets is not None:
            budget = budgets.get(value.reason, budget)
        if unit.rejections - unit.budget_from >= budget:
            return answer
        await context.ledger.reject(unit, value, request.key, purchase)
        unit = replace(unit, rejections=unit.rejections + 1)


async def _note(context: RunContext, endpoint: Model, answer: CheckedAnswer[Any]) -> None:
    """Raise AccessError if the token limit is too low for every row. The answer is stored before."""
    try:
        context.clients.client(endpoint).used_up.note(endpoint.name, answer.value)
    except errors.AccessError:
        if answer.purchase:
            await context.ledger.keep(answer.unit, answer.purchase)
        raise


async def ask_cached(
    context: RunContext,
    unit: ClaimedUnit,
    endpoint: Model,
    request: Request,
    together: Sequence[ClaimedUnit] = (),
) -> tuple[Completion, Purchase | None]:
    """Return the answer from the ledger, or buy it; the caller commits the Purchase.

    `together` are the units of a common call, `unit` is the first of them. Raise UnitReleased, AwaitingBatch,
    AccessError, BadRequest, ServiceError or BudgetUsedUp.
    """
    client = context.clients.client(endpoint)
    expected = client.estimate.usage(request)
    capped = context.experiment.budget_usd is not None
    call = CallClaim(unit, request, cost_nano_usd(expected, endpoint.price) if capped else 0)
    with client.health.watch() as failures:
        while True:
            stored = await _reserve(context, endpoint, call, together or [unit])
            if isinstance(stored, Completion):
                return stored, None
            wait = BUSY_SECONDS
            if stored is None:
                try:
                    return await _buy_answer(context, endpoint, call, expected, failures)
                except errors.Unavailable as error:
                    wait = failures.next_wait(error)
            await pause(context, wait)
            await require_running(context)


async def _reserve(
    context: RunContext, endpoint: Model, call: CallClaim, units: Sequence[ClaimedUnit]
) -> Completion | Busy | None:
    """Return the stored answer, Busy, or None if the call is to be made."""
    ledger = context.ledger
    stored: ReserveResult | BatchRefusal
    in_batches = endpoint.delivery == "batch"
    if in_batches:
        stored = await ledger(batch_enqueue.enqueue_for_batch, ledger.owner, units, call, ledger.clock())
    else:
        stored = await ledger.reserve(call)
    if isinstance(stored, Completion):
        require_as_recorded(context, endpoint, call.request, stored)
    elif isinstance(stored, BatchRefusal):
        raise errors.refusal_of(stored.reason, stored.detail)
    elif isinstance(stored, OverBudget):
        spent = await ledger(counts.spending, context.run.id)
        unanswered = (await ledger(read_budget, context.run.id)).unanswered
        raise errors.BudgetUsedUp(_budget_message(context, spent.cost_nano_usd, unanswered))
    elif stored is None and in_batches:
        raise AwaitingBatch
    return stored


async def _buy_answer(
    context: RunContext,
    endpoint: Model,
    call: CallClaim,
    expected: Usage,
    failures: CallFailures,
) -> tuple[Completion, Purchase]:
    ledger, request = context.ledger, call.request
    client = context.clients.client(endpoint)
    try:
        completion, seconds = await call_with_retries(context, client, request, expected, failures)
    except (Exception, asyncio.CancelledError) as error:
        lost = _possible_cost(error, expected, endpoint.price)
        await ledger(purchases.abandon, ledger.owner, request.key, lost, context.run.id)
        raise
    completion = client.estimate.charged(request, clean_completion(completion))
    client.estimate.learn(request, completion.usage)
    cost = cost_nano_usd(completion.usage, endpoint.price)
    purchase = Purchase(request, completion, cost, seconds, call.reservation)
    if endpoint.backend != "replay":  # which can answer again for nothing
        context.clients.journal.append(purchases.purchase_row(call.unit, purchase, ledger.clock()))
    return completion, purchase


def _possible_cost(error: BaseException, expected: Usage, price: Price) -> int:
    """Return what a call without an answer may have cost: what the server counted, or what was expected."""
    if not isinstance(error, errors.Unavailable) or not may_be_billed(error):
        return 0
    counted = cost_nano_usd(error.usage, price) if error.usage else 0
    if error.usage and not error.usage.estimated:
        return counted
    return max(counted, cost_nano_usd(expected, price))


def _budget_message(context: RunContext, spent: int, unanswered: int) -> str:
    run, budget = context.run.id, context.experiment.budget_usd
    lost = f", and up to {usd(unanswered)} for calls without an answer" if unanswered else ""
    return (
        f"budget_usd {budget} does not allow another call ({usd(spent)} are spent{lost}); "
        f"raise it with `starmill resume {run} --budget-usd AMOUNT`"
    )
