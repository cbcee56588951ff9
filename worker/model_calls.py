"""Model calls: an answer is looked up in the ledger, or bought within the limits that all workers share,
checked, and asked for again if that helps."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from models.core import errors
from models.core.answers.checks import REASONS
from models.core.experiment.endpoints import Student, Teacher
from models.core.types import Completion, Rejection, Request, Usage
from storage.ledger import batch_enqueue, counts, purchases, runs
from storage.ledger.batch_enqueue import BatchRefusal
from storage.ledger.claims import ClaimedUnit
from storage.ledger.purchases import CallClaim, OverBudget, Purchase, ReserveResult, cost_nano_usd
from storage.limits.limiter import CallOutcome, CallReport
from storage.schema import RUNNING
from worker import tracing
from worker.clients import ModelClient
from worker.requests import as_recorded, require_as_recorded
from worker.run_context import RunContext

log = logging.getLogger(__name__)
MAX_WAIT_SECONDS = 30.0
# A call that waited longer for the limits checks that the run and the reservation still stand.
MAX_UNCHECKED_WAIT_SECONDS = 1.0
HARD_RETRIES = 3
BUSY_SECONDS = 0.5
T = TypeVar("T")
_backoff = wait_random_exponential(multiplier=0.5, max=MAX_WAIT_SECONDS)


class UnitReleased(Exception):
    """The unit cannot go on here, because the worker or the run stops."""


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
    endpoint: Teacher | Student,
    render: Callable[[int], Request],
    parse: Callable[[Completion], T | Rejection],
    soft_retries: int,
) -> CheckedAnswer[T]:
    """Ask until `parse` accepts the answer or the budget is used up. `render` gets the number of the attempt.

    Soft rejections (wrong form) and hard ones (no usable answer) have separate budgets. An interrupted unit
    continues with the attempt at which it was.
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
        if not isinstance(value, Rejection):
            return answer
        budget = soft_retries if REASONS[value.reason].soft else HARD_RETRIES
        if unit.rejections - unit.budget_from >= budget:
            return answer
        await context.ledger.reject(unit, value, request.key, purchase)
        unit = replace(unit, rejections=unit.rejections + 1)


async def ask_cached(
    context: RunContext,
    unit: ClaimedUnit,
    endpoint: Teacher | Student,
    request: Request,
    together: Sequence[ClaimedUnit] = (),
) -> tuple[Completion, Purchase | None]:
    """Return the answer from the ledger, or buy it; the caller commits the Purchase.

    `together` are the units of a common call, `unit` is the first of them. Raise UnitReleased, AwaitingBatch,
    AccessError, BadRequest or BudgetUsedUp.
    """
    ledger = context.ledger
    expected = context.clients.client(endpoint).estimate.usage(request)
    capped = context.experiment.budget_usd is not None
    call = CallClaim(unit, request, cost_nano_usd(expected, endpoint.price) if capped else 0)
    in_batches = isinstance(endpoint, Teacher) and endpoint.delivery == "batch"
    while True:
        stored: ReserveResult | BatchRefusal
        if in_batches:
            stored = await ledger(
                batch_enqueue.enqueue_for_batch, ledger.owner, together or [unit], call, ledger.clock()
            )
        else:
            stored = await ledger.reserve(call)
        if isinstance(stored, Completion):
            require_as_recorded(context, endpoint, request, stored)
            return stored, None
        if isinstance(stored, BatchRefusal):
            too_long = stored.reason == errors.ContextOverflow.reason
            raise (errors.ContextOverflow if too_long else errors.BadRequest)(stored.detail)
        if isinstance(stored, OverBudget):
            spent = await ledger(counts.spending, context.run.id)
            raise errors.BudgetUsedUp(_budget_message(context, spent.dollars))
        if stored is None and in_batches:
            raise AwaitingBatch
        if stored is None:
            return await _buy_answer(context, endpoint, call, expected)
        await _pause(context, BUSY_SECONDS)
        await _require_running(context)


async def _buy_answer(
    context: RunContext, endpoint: Teacher | Student, call: CallClaim, expected: Usage
) -> tuple[Completion, Purchase]:
    ledger, request = context.ledger, call.request
    client = context.clients.client(endpoint)
    try:
        completion, seconds = await _call_with_retries(context, client, request, expected)
    except (Exception, asyncio.CancelledError):
        await ledger(purchases.abandon, ledger.owner, request.key)
        raise
    client.estimate.learn(request, completion.usage)
    completion = purchases.clean_completion(completion)
    cost = cost_nano_usd(completion.usage, endpoint.price)
    return completion, Purchase(request, completion, cost, seconds, call.reservation)


async def _call_with_retries(
    context: RunContext, client: ModelClient, request: Request, expected: Usage
) -> tuple[Completion, float]:
    """Return the answer and its latency in seconds. `expected` is charged to the limits until the usage is
    known.

    Rate limits and outages never count against a unit. Raise UnitReleased, AccessError or BadRequest.
    """
    try:
        return await _call(context, client, request, expected)
    except errors.TransportError as error:
        # Only now: tenacity costs more processor time than the rest of a call.
        return await _retry(context, client, request, expected, error)


async def _retry(
    context: RunContext, client: ModelClient, request: Request, expected: Usage, first: errors.TransportError
) -> tuple[Completion, float]:
    failed = [first]

    async def attempt() -> tuple[Completion, float]:
        if failed:
            raise failed.pop()
        await _require_owned(context, request)
        return await _call(context, client, request, expected)

    def log_retry(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.info("%s: %s; again in %.1f s", client.name, error, state.upcoming_sleep)

    patient = AsyncRetrying(
        retry=retry_if_exception_type(errors.TransportError),
        wait=_retry_delay,
        sleep=lambda seconds: _pause(context, seconds),
        before_sleep=log_retry,
        reraise=True,
    )
    return await patient(attempt)


async def _call(
    context: RunContext, client: ModelClient, request: Request, expected: Usage
) -> tuple[Completion, float]:
    charged = expected.prompt + expected.completion
    await ensure_open(context, client)
    queued = time.monotonic()
    try:
        with tracing.span("wait for limit"):
            permit = await client.admission.acquire(charged)
    except asyncio.CancelledError:
        if context.stopping.is_set():
            raise UnitReleased from None
        raise
    report = CallReport(CallOutcome.UNSENT, tokens=-charged)
    try:
        started = time.monotonic()
        if started - queued > MAX_UNCHECKED_WAIT_SECONDS:
            await _require_owned(context, request)
        report = CallReport(CallOutcome.FAILED)
        with tracing.call_span(request) as span:
            completion = await client.backend.complete(request)
            if span:
                tracing.answered(span, completion)
        used = completion.usage.prompt + completion.usage.completion
        report = client.report(CallOutcome.OK, used - charged)
    except errors.RateLimited as error:
        report = client.report(CallOutcome.LIMITED, -charged, error.retry_after)
        raise
    except errors.TransportError:
        raise
    except errors.ModelError:
        report = client.report(CallOutcome.OK, -charged)
        raise
    finally:
        client.admission.release(permit, report)
    return completion, time.monotonic() - started


async def ensure_open(context: RunContext, client: ModelClient) -> None:
    """Return when the model can be asked. Opening may take minutes; a worker that stops does not wait for it.
    Raise UnitReleased, AccessError or WorkerUnusable."""
    if client.local is None or client.local.is_open:
        return
    opening = asyncio.ensure_future(client.local.open())
    stopping = asyncio.ensure_future(context.stopping.wait())
    await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not opening.done():
        opening.cancel()
        raise UnitReleased
    opening.result()


def _retry_delay(state: RetryCallState) -> float:
    """Return 0 after a rate limit, because admission knows when to call again; else a random time whose bound
    doubles up to MAX_WAIT_SECONDS."""
    error = state.outcome.exception() if state.outcome else None
    return 0.0 if isinstance(error, errors.RateLimited) else _backoff(state)


async def _pause(context: RunContext, seconds: float) -> None:
    """Sleep, but not longer than until the worker stops."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(context.stopping.wait(), seconds)


async def _require_owned(context: RunContext, request: Request) -> None:
    """Raise UnitReleased if the call must not be made any more. A worker that was cut off for longer than its
    lease would pay for an answer that another has bought since."""
    ledger = context.ledger
    if context.stopping.is_set() or not await ledger(
        purchases.may_be_bought, ledger.owner, request.key, context.run.id
    ):
        raise UnitReleased


async def _require_running(context: RunContext) -> None:
    """Raise UnitReleased if the worker or the run stops."""
    if context.stopping.is_set():
        raise UnitReleased
    state, _ = await context.ledger(runs.run_state, context.run.id)
    if state != RUNNING:
        raise UnitReleased


def _budget_message(context: RunContext, spent: float) -> str:
    run, budget = context.run.id, context.experiment.budget_usd
    return (
        f"budget_usd {budget} does not allow another call ({spent:.4f} are spent); "
        f"raise it with `starmill resume {run} --budget-usd AMOUNT`"
    )
