"""One model call within the limits that all workers share, made again while that may help."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

from models.core import errors
from models.core.types import Completion, Request, Usage
from storage.limits.limiter import CallOutcome, CallReport
from worker import tracing
from worker.admission import Permit
from worker.clients import ModelClient
from worker.model_health import MAX_RETRY_AFTER, CallFailures
from worker.run_context import RunContext
from worker.waits import UnitReleased, pause, require_owned, require_running

# A call that waited longer for the limits checks that the run and the reservation still stand.
MAX_UNCHECKED_WAIT_SECONDS = 1.0


async def call_with_retries(
    context: RunContext, client: ModelClient, request: Request, expected: Usage, failures: CallFailures
) -> tuple[Completion, float]:
    """Return the answer and its latency in seconds. `expected` is charged to the limits until the usage is
    known.

    Raise UnitReleased, AccessError, BadRequest or ServiceError; and Unavailable for a call that brought no
    answer and may be billed: it needs a new reservation before it is made again.
    """
    while True:
        try:
            return await client.first_call.make(
                lambda: _call_once(context, client, request, expected), lambda: require_running(context)
            )
        except (errors.TransportError, errors.StrayRefusal) as error:
            if may_be_billed(error):
                raise
            wait = failures.next_wait(error)
        await pause(context, wait)
        await require_owned(context, request)


def may_be_billed(error: BaseException) -> bool:
    """Return True if the server may have generated an answer that never came."""
    return isinstance(error, errors.TimedOut) or (
        isinstance(error, errors.Unavailable) and error.usage is not None
    )


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


async def _call_once(
    context: RunContext, client: ModelClient, request: Request, expected: Usage
) -> tuple[Completion, float]:
    charged = expected.prompt + expected.completion
    await ensure_open(context, client)
    queued = time.monotonic()
    permit = await _admitted(context, client, charged)
    report = CallReport(CallOutcome.UNSENT, tokens=-charged)
    try:
        started = time.monotonic()
        if started - queued > MAX_UNCHECKED_WAIT_SECONDS:
            await require_owned(context, request)
        report = CallReport(CallOutcome.FAILED)
        with tracing.call_span(request) as span:
            completion = await client.backend.complete(request)
            if span:
                tracing.answered(span, completion)
        client.health.answered()
        used = completion.usage.prompt + completion.usage.completion
        report = client.report(CallOutcome.OK, used - charged)
    except errors.RateLimited as error:
        report = client.report(CallOutcome.LIMITED, -charged, _bounded(error))
        _require_short(error)
        raise
    except errors.TransportError as error:
        _require_short(error)
        raise
    except errors.ModelError:
        report = client.report(CallOutcome.OK, -charged)
        raise
    finally:
        client.admission.release(permit, report)
    return completion, time.monotonic() - started


async def _admitted(context: RunContext, client: ModelClient, tokens: int) -> Permit:
    """Wait until the limits allow the call. Raise UnitReleased if the worker or the run stops."""
    if context.stopping.is_set():
        raise UnitReleased
    try:
        with tracing.span("wait for limit"):
            return await client.admission.acquire(tokens, context.run.id)
    except asyncio.CancelledError:
        if context.stopping.is_set():
            raise UnitReleased from None
        raise


def _bounded(error: errors.RateLimited) -> float | None:
    """Return what blocks the model's limits, for all runs: no longer than MAX_RETRY_AFTER."""
    return error.retry_after if (error.retry_after or 0.0) <= MAX_RETRY_AFTER else None


def _require_short(error: errors.TransportError) -> None:
    """Raise ServiceError, which pauses the run, if the server asks to wait longer than MAX_RETRY_AFTER."""
    seconds = getattr(error, "retry_after", None) or 0.0
    if seconds > MAX_RETRY_AFTER:
        # Dates of centuries to come are no dates.
        until = datetime.fromtimestamp(time.time() + min(seconds, 10 * 365 * 86400)).astimezone()
        raise errors.ServiceError(
            f"the server wants no calls until {until:%Y-%m-%d %H:%M} (Retry-After): {error}"
        ) from None
