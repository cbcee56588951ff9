"""One call to a model: it waits for the limits that workers share, and outlasts the server's bad times."""

from __future__ import annotations

import asyncio
import logging
import time

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from models.endpoints import Teacher
from models.errors import ModelError, RateLimited, TransportError
from models.students import Student
from models.types import Completion, Request, Usage
from storage.ledger import generations, planning
from storage.limits.base import Outcome, Report
from storage.schema import RUNNING
from worker import tracing
from worker.context import RunContext
from worker.resources import Line

log = logging.getLogger(__name__)
LONGEST_WAIT = 30.0
PATIENCE = 1.0
_backoff = wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)


class GivenBack(Exception):
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
    context: RunContext, line: Line, request: Request, expected: Usage, error: TransportError
) -> tuple[Completion, float]:
    failed: list[TransportError] = [error]

    async def attempt() -> tuple[Completion, float]:
        if failed:
            raise failed.pop()
        await _require_ours(context, request)
        return await _attempt(context, line, request, expected)

    def complain(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.info("%s: %s; again in %.1f s", line.name, error, state.upcoming_sleep)

    patient = AsyncRetrying(
        retry=retry_if_exception_type(TransportError),
        wait=_wait,
        sleep=context.runtime.pause,
        before_sleep=complain,
        reraise=True,
    )
    return await patient(attempt)


async def _attempt(
    context: RunContext, line: Line, request: Request, expected: Usage
) -> tuple[Completion, float]:
    charged = expected.prompt + expected.completion
    await opened(context, line)
    asked = time.monotonic()
    try:
        with tracing.span("wait for limit"):
            permit = await line.gate.enter(charged)
    except asyncio.CancelledError:
        if context.runtime.stopping.is_set():
            raise GivenBack from None
        raise
    report = Report(Outcome.UNSENT, tokens=-charged)
    try:
        started = time.monotonic()
        if started - asked > PATIENCE:
            await _require_ours(context, request)
        report = Report(Outcome.FAILED)
        with tracing.call_span(request) as span:
            completion = await line.backend.complete(request)
            if span:
                tracing.answered(span, completion)
        report = line.report(Outcome.OK, completion.usage.prompt + completion.usage.completion - charged)
    except RateLimited as error:
        report = line.report(Outcome.LIMITED, -charged, error.retry_after)
        raise
    except TransportError:
        raise
    except ModelError:
        report = line.report(Outcome.OK, -charged)
        raise
    finally:
        line.gate.leave(permit, report)
    return completion, time.monotonic() - started


async def opened(context: RunContext, line: Line) -> None:
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
        raise GivenBack
    opening.result()


def _wait(state: RetryCallState) -> float:
    """After a rate limit the gate knows when; otherwise full jitter, doubling up to LONGEST_WAIT seconds."""
    error = state.outcome.exception() if state.outcome else None
    return 0.0 if isinstance(error, RateLimited) else _backoff(state)


async def _require_ours(context: RunContext, request: Request) -> None:
    """Raises GivenBack where the call may not be made any more: a worker that was cut off for longer than
    its lease would pay for what another has bought since."""
    runtime = context.runtime
    if runtime.stopping.is_set() or not await runtime.ledger(
        generations.may_be_bought, runtime.owner, request.key, context.run.id
    ):
        raise GivenBack


async def require_running(context: RunContext) -> None:
    """Raises GivenBack where the worker or the run stops."""
    if context.runtime.stopping.is_set():
        raise GivenBack
    state, _ = await context.runtime.ledger(planning.run_state, context.run.id)
    if state != RUNNING:
        raise GivenBack
