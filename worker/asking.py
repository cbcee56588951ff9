"""One question to a model: looked up, claimed, bought, checked, and asked again where that helps."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from models.answers import REASONS
from models.errors import BadRequest, ContextOverflow, RateLimited, TransportError
from models.experiment import Student, Teacher
from models.types import Completion, Rejection, Request
from storage.ledger import filing, generations, outcomes, planning
from storage.ledger.claims import Work
from storage.ledger.filing import Refusal
from storage.ledger.generations import Purchase, cost_nano_usd
from storage.schema import RUNNING
from worker.context import RunContext

log = logging.getLogger(__name__)
HARD_RETRIES = 3
LONGEST_WAIT = 30.0
BUSY_SECONDS = 0.5
T = TypeVar("T")
_backoff = wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)


class GivenBack(Exception):
    """The unit cannot go on here: the worker stops, or the run does."""


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
        request = render(work.rejections)
        completion, purchase = await ask(context, work, endpoint, request)
        value = parse(completion)
        asked = Asked(work, value, completion, request.key, purchase)
        if not isinstance(value, Rejection):
            return asked
        budget = soft_retries if REASONS[value.reason].soft else HARD_RETRIES
        if work.rejections - work.budget_from >= budget:
            return asked
        await context.runtime.ledger(
            outcomes.reject, work, value, work.rejections, request.key, purchase, context.runtime.clock()
        )
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
    Parked, AccessError, BadRequest.
    """
    if isinstance(endpoint, Teacher) and endpoint.delivery == "batch":
        return await _file(context, together or [work], request), None
    runtime = context.runtime
    while True:
        found = await runtime.ledger(
            generations.reserve, runtime.owner, work, request, runtime.clock(), runtime.lease
        )
        if isinstance(found, Completion):
            return found, None
        if found is None:
            break
        await runtime.pause(BUSY_SECONDS)
        await _require_running(context)
    try:
        completion, seconds = await _call(context, endpoint, request)
    except (Exception, asyncio.CancelledError):
        await runtime.ledger(generations.abandon, runtime.owner, request.key)
        raise
    cost = cost_nano_usd(completion.usage, endpoint.price)
    return completion, Purchase(request, completion, cost, seconds)


async def _file(context: RunContext, works: Sequence[Work], request: Request) -> Completion:
    """Raises Parked where the answer is still to come, BadRequest where it will not."""
    runtime = context.runtime
    while True:
        found = await runtime.ledger(filing.file_and_park, runtime.owner, works, request, runtime.clock())
        if isinstance(found, Completion):
            return found
        if isinstance(found, Refusal):
            raise (ContextOverflow if found.reason == "context_overflow" else BadRequest)(found.detail)
        if found is None:
            raise Parked
        await runtime.pause(BUSY_SECONDS)
        await _require_running(context)


async def _call(
    context: RunContext, endpoint: Teacher | Student, request: Request
) -> tuple[Completion, float]:
    """Waits out rate limits and outages: they never count against a row."""

    async def complain(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("%s: %s; waiting %.1f s", endpoint.name, error, state.upcoming_sleep)
        await _require_running(context)

    patient = AsyncRetrying(
        retry=retry_if_exception_type(TransportError),
        wait=_wait,
        sleep=context.runtime.pause,
        before_sleep=complain,
        reraise=True,
    )
    backend = context.runtime.resources.backend(endpoint)
    async for attempt in patient:
        with attempt:
            started = time.monotonic()
            completion = await backend.complete(request)
    return generations.storable(completion), time.monotonic() - started


def _wait(state: RetryCallState) -> float:
    """Retry-After is taken at its word; otherwise full jitter, doubling up to LONGEST_WAIT seconds."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, RateLimited) and error.retry_after is not None:
        return error.retry_after
    return _backoff(state)


async def _require_running(context: RunContext) -> None:
    if context.runtime.stopping.is_set():
        raise GivenBack
    state, _ = await context.runtime.ledger(planning.run_state, context.run.id)
    if state != RUNNING:
        raise GivenBack
