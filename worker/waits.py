"""The waits of a unit in a worker, and when it must not go on."""

from __future__ import annotations

import asyncio
import contextlib

from models.core.types import Request
from storage.ledger import purchases, runs
from storage.schema import RUNNING
from worker.run_context import RunContext


class UnitReleased(Exception):
    """The unit cannot go on here, because the worker or the run stops."""


async def pause(context: RunContext, seconds: float) -> None:
    """Sleep, but not longer than until the worker or the run stops."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(context.stopping.wait(), seconds)


async def require_owned(context: RunContext, request: Request) -> None:
    """Raise UnitReleased if the call must not be made any more. A worker that was cut off for longer than its
    lease would pay for an answer that another has bought since."""
    ledger = context.ledger
    if context.stopping.is_set() or not await ledger(
        purchases.may_be_bought, ledger.owner, request.key, context.run.id
    ):
        raise UnitReleased


async def require_running(context: RunContext) -> None:
    """Raise UnitReleased if the worker or the run stops."""
    if context.stopping.is_set():
        raise UnitReleased
    state, _ = await context.ledger(runs.run_state, context.run.id)
    if state != RUNNING:
        raise UnitReleased
