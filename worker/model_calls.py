"""One call to a model: it waits for the limits that workers share, and outlasts the server's bad times.

One question to a model: looked up, claimed, bought, checked, and asked again where that helps.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from models.core.answers.checks import REASONS
from models.core.errors import (
    BadRequest,
    BudgetUsedUp,
    ContextOverflow,
    ModelError,
    RateLimited,
    TransportError,
)
from models.core.experiment.endpoints import Student, Teacher
from models.core.types import Completion, Rejection, Request, Usage
from storage.ledger import batch_enqueue, counts, purchases, runs
from storage.ledger.batch_enqueue import BatchRefusal
from storage.ledger.claims import ClaimedUnit
from storage.ledger.purchases import CallClaim, Found, OverBudget, Purchase, cost_nano_usd
from storage.limits.limiter import CallOutcome, CallReport
from storage.schema import RUNNING
from worker import tracing
from worker.clients import ModelClient
from worker.requests import as_recorded, require_as_recorded
from worker.run_context import RunContext

log = logging.getLogger(__name__)
MAX_WAIT_SECONDS = 30.0
PATIENCE = 1.0
_backoff = wait_random_exponential(multiplier=0.5, max=MAX_WAIT_SECONDS)


class UnitReleased(Exception):
    """The unit cannot go on here: the worker stops, or the run does."""


async def make_call(
    context: RunContext, endpoint: Teacher | Student, request: Request, expected: Usage
) -> tuple[Completion, float]:
    """The answer, and the seconds that it took. `expected` is charged to the limits until it is known.

    Rate limits and outages never count against a row. Raises GivenBack, AccessError, BadRequest.
    """
    line = context.runtime.resources.line(endpoint)
    try:
        return await _attempt(context, line, request, expected)
    except TransportError as error:
        # Only now: tenacity costs more processor time than the rest of a call.
        return await _try_again(context, line, request, expected, error)


async def _try_again(
    context: RunContext, line: ModelClient, request: Request, expected: Usage, error: TransportError
) -> tuple[Completion, float]:
    failed: list[TransportError] = [error]

    async def attempt() -> tuple[Completion, float]:
        if failed:
            raise failed.pop()
        await _require_owned(context, request)
        return await _attempt(context, line, request, expected)

    def complain(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.info("%s: %s; again in %.1f s", line.name, error, state.upcoming_sleep)

    patient = AsyncRetrying(
        retry=retry_if_exception_type(TransportError),
        wait=_retry_delay,
        sleep=context.runtime.pause,
        before_sleep=complain,
        reraise=True,
    )
    return await patient(attempt)


async def _attempt(
    context: RunContext, line: ModelClient, request: Request, expected: Usage
) -> tuple[Completion, float]:
    charged = expected.prompt + expected.completion
    await ensure_open(context, line)
    asked = time.monotonic()
    try:
        with tracing.span("wait for limit"):
            permit = await line.gate.enter(charged)
    except asyncio.CancelledError:
        if context.runtime.stopping.is_set():
            raise UnitReleased from None
        raise
    report = CallReport(CallOutcome.UNSENT, tokens=-charged)
    try:
        started = time.monotonic()
        if started - asked > PATIENCE:
            await _require_owned(context, request)
        report = CallReport(CallOutcome.FAILED)
        with tracing.call_span(request) as span:
            completion = await line.backend.complete(request)
            if span:
                tracing.answered(span, completion)
        report = line.report(CallOutcome.OK, completion.usage.prompt + completion.usage.completion - charged)
    except RateLimited as error:
        report = line.report(CallOutcome.LIMITED, -charged, error.retry_after)
        raise
    except TransportError:
        raise
    except ModelError:
        report = line.report(CallOutcome.OK, -charged)
        raise
    finally:
        line.gate.leave(permit, report)
    return completion, time.monotonic() - started


async def ensure_open(context: RunContext, line: ModelClient) -> None:
    """Return when the model can be asked. It may take minutes, which a worker that is to stop does not wait
    for. Raises GivenBack, AccessError, WorkerUnfit."""
    if line.local is None or line.local.is_open:
        return
    opening = asyncio.ensure_future(line.local.open())
    stopping = asyncio.ensure_future(context.runtime.stopping.wait())
    await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not opening.done():
        opening.cancel()
        raise UnitReleased
    opening.result()


def _retry_delay(state: RetryCallState) -> float:
    """After a rate limit the gate knows when; otherwise full jitter, doubling up to LONGEST_WAIT seconds."""
    error = state.outcome.exception() if state.outcome else None
    return 0.0 if isinstance(error, RateLimited) else _backoff(state)


async def _require_owned(context: RunContext, request: Request) -> None:
    """Raises GivenBack where the call may not be made any more: a worker that was cut off for longer than
    its lease would pay for what another has bought since."""
    runtime = context.runtime
    if runtime.stopping.is_set() or not await runtime.ledger(
        purchases.may_be_bought, runtime.owner, request.key, context.run.id
    ):
        raise UnitReleased


async def require_running(context: RunContext) -> None:
    """Raises GivenBack where the worker or the run stops."""
    if context.runtime.stopping.is_set():
        raise UnitReleased
    state, _ = await context.runtime.ledger(runs.run_state, context.run.id)
    if state != RUNNING:
        raise UnitReleased


HARD_RETRIES = 3
BUSY_SECONDS = 0.5
T = TypeVar("T")


class AwaitingBatch(Exception):
    """The unit waits in the ledger for an answer that comes with a batch; its worker is free."""


@dataclass(frozen=True, slots=True)
class CheckedAnswer(Generic[T]):
    """`value` is the accepted answer, or the Rejection that used up the budget. `unit` counts the
    rejections so far; `purchase` is None where the answer was already in the ledger."""

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
    """`render` gets the number of the attempt. Soft rejections (wrong form) and hard ones (no usable
    answer at all) have budgets of their own size; a unit that was interrupted goes on where it was."""
    while True:
        request = await as_recorded(context, endpoint, render(unit.rejections), unit)
        completion, purchase = await ask_cached(context, unit, endpoint, request)
        try:
            value = parse(completion)
        except Exception:
            if purchase:  # the row is lost, the answer and its price are not
                await context.runtime.keep(unit, purchase)
            raise
        asked = CheckedAnswer(unit, value, completion, request.key, purchase)
        if not isinstance(value, Rejection):
            return asked
        budget = soft_retries if REASONS[value.reason].soft else HARD_RETRIES
        if unit.rejections - unit.budget_from >= budget:
            return asked
        await context.runtime.reject(unit, value, request.key, purchase)
        unit = replace(unit, rejections=unit.rejections + 1)


async def ask_cached(
    context: RunContext,
    unit: ClaimedUnit,
    endpoint: Teacher | Student,
    request: Request,
    together: Sequence[ClaimedUnit] = (),
) -> tuple[Completion, Purchase | None]:
    """The answer from the ledger, or bought now; then the Purchase is the caller's to commit.

    `together` are the units that a common call is asked for, `unit` the first of them. Raises GivenBack,
    Parked, AccessError, BadRequest, BudgetUsedUp.
    """
    runtime = context.runtime
    expected = runtime.resources.line(endpoint).estimate.usage(request)
    capped = context.experiment.budget_usd is not None
    call = CallClaim(unit, request, cost_nano_usd(expected, endpoint.price) if capped else 0)
    in_batches = isinstance(endpoint, Teacher) and endpoint.delivery == "batch"
    while True:
        found: Found | BatchRefusal
        if in_batches:
            found = await runtime.ledger(
                batch_enqueue.enqueue_for_batch, runtime.owner, together or [unit], call, runtime.clock()
            )
        else:
            found = await runtime.reserve(call)
        if isinstance(found, Completion):
            require_as_recorded(context, endpoint, request, found)
            return found, None
        if isinstance(found, BatchRefusal):
            raise (ContextOverflow if found.reason == "context_overflow" else BadRequest)(found.detail)
        if isinstance(found, OverBudget):
            spent = await runtime.ledger(counts.spending, context.run.id)
            raise BudgetUsedUp(_used_up(context, spent.dollars))
        if found is None and in_batches:
            raise AwaitingBatch
        if found is None:
            return await _buy_answer(context, endpoint, call, expected)
        await runtime.pause(BUSY_SECONDS)
        await require_running(context)


async def _buy_answer(
    context: RunContext, endpoint: Teacher | Student, call: CallClaim, expected: Usage
) -> tuple[Completion, Purchase]:
    runtime, request = context.runtime, call.request
    try:
        completion, seconds = await make_call(context, endpoint, request, expected)
    except (Exception, asyncio.CancelledError):
        await runtime.ledger(purchases.abandon, runtime.owner, request.key)
        raise
    runtime.resources.line(endpoint).estimate.learn(request, completion.usage)
    completion = purchases.storable(completion)
    cost = cost_nano_usd(completion.usage, endpoint.price)
    return completion, Purchase(request, completion, cost, seconds, call.hold)


def _used_up(context: RunContext, spent: float) -> str:
    run, budget = context.run.id, context.experiment.budget_usd
    return (
        f"budget_usd {budget} does not allow another call ({spent:.4f} are spent); "
        f"raise it with `starmill resume {run} --budget-usd AMOUNT`"
    )
