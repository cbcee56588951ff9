"""Commit the outcomes of units, whatever a database refuses to store, and give back units that cannot end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace

from models.core.errors import ServiceError
from storage.ledger import claims, runs
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import NOT_STORABLE, UnitOutcome, without_answer
from storage.ledger.purchases import Purchase
from storage.logs import OncePerMinute
from storage.service_errors import cause, database_refusal, passing_trouble
from worker.run_context import RunContext
from worker.runtime import Runtime

log = logging.getLogger(__name__)
trouble_log = OncePerMinute(log)
# Units that cannot be executed for now are held so long before they go back: else they would circle.
HOLD_SECONDS = 5.0
NOT_READABLE = "not_readable"


async def commit_outcomes(
    runtime: Runtime, context: RunContext, outcomes: Sequence[UnitOutcome]
) -> list[UnitOutcome]:
    """Commit the outcomes and return them. One that cannot be stored becomes a failure; the others stay."""
    try:
        await runtime.ledger.finish(outcomes)
    except Exception as error:
        if not _is_for_good(error):
            raise
        if len(outcomes) == 1:
            return [await _commit_failure(runtime, context, outcomes[0], error)]
        return [stored for each in outcomes for stored in await commit_outcomes(runtime, context, [each])]
    return list(outcomes)


async def _commit_failure(
    runtime: Runtime, context: RunContext, outcome: UnitOutcome, error: Exception
) -> UnitOutcome:
    """Commit a failure in place of an outcome, with as much of its purchase as can be stored."""
    log.warning("unit %d cannot be stored: %s", outcome.unit.unit_id, cause(error))
    failure = context.failed(outcome.unit, NOT_STORABLE, f"{type(error).__name__}: {cause(error)}")
    bought = outcome.purchase
    purchases: list[Purchase | None] = [bought, without_answer(bought), None] if bought else [None]
    for purchase in purchases:
        failure = replace(failure, purchase=purchase)
        try:
            await runtime.ledger.finish([failure])
        except Exception as again:
            if purchase is None or not _is_for_good(again):
                raise
        else:
            break
    return failure


async def claim_readable(runtime: Runtime, unit_ids: Sequence[int]) -> list[ClaimedUnit]:
    """Claim the units. If that fails for good, claim each alone, and fail those that cannot be read."""
    try:
        return await runtime.ledger.claim(unit_ids)
    except Exception as error:
        if not _is_for_good(error):
            raise
        if len(unit_ids) > 1:
            return [unit for unit_id in unit_ids for unit in await claim_readable(runtime, [unit_id])]
        detail = f"cannot be read from the ledger: {type(error).__name__}: {cause(error)}"
        log.warning("unit %d %s", unit_ids[0], detail)
        fail = claims.fail_unreadable_unit
        await runtime.ledger(fail, unit_ids[0], NOT_READABLE, detail, runtime.clock())
        return []


def _is_for_good(error: Exception) -> bool:
    """Return whether the database works, and the fault is that of the unit."""
    of_service = passing_trouble(error) or database_refusal(error) or isinstance(error, ServiceError)
    return not of_service


async def give_back(runtime: Runtime, units: Sequence[ClaimedUnit], error: Exception) -> None:
    """Release units that an error keeps from any end. Raise nothing: at worst their leases expire.

    If the error passes, hold them for a moment. If it does not, stop what would meet it again: the worker if
    it cannot use the ledger, or read the run, else the run.
    """
    trouble = passing_trouble(error)
    with contextlib.suppress(Exception):
        if trouble:
            trouble_log.warning(trouble, "units go back and are executed later")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(runtime.stopping.wait(), HOLD_SECONDS)
        elif isinstance(error, ServiceError | runs.UnreadableRun):
            runtime.fatal(str(error))
        elif units:
            await _pause(runtime, units[0].run_id, error)
        elif refusal := database_refusal(error):
            runtime.fatal(refusal)
        if units:
            await runtime.ledger.release(units)


async def _pause(runtime: Runtime, run_id: str, error: Exception) -> None:
    what = database_refusal(error) or f"{type(error).__name__}: {cause(error)}"
    reason = f"a worker cannot execute it: {what}"
    log.error("run %s is paused: %s", run_id, reason)
    try:
        await runtime.ledger(runs.stop_run, run_id, reason, paused=True)
    except Exception as again:
        runtime.fatal(database_refusal(again) or what)
        raise
