"""The life of a unit, from the claim to the commit that ends it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from itertools import groupby

from models.core import errors
from storage.ledger import runs
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import NOT_STORABLE, UnitOutcome
from storage.logs import about
from storage.service_errors import cause, database_refusal, is_unstorable, passing_trouble
from worker import steps, tracing
from worker.commit import claim_readable, commit_outcomes, give_back
from worker.model_calls import AwaitingBatch
from worker.run_context import RunContext
from worker.runtime import Runtime
from worker.waits import UnitReleased

log = logging.getLogger(__name__)


async def execute_units(runtime: Runtime, unit_ids: Sequence[int]) -> None:
    """Claim the units that a message names, and execute them. A unit that is done, or that another worker
    holds, is not claimed. Raise nothing: a unit ends, goes back, or its lease expires."""
    began = time.time_ns()
    with runtime.ledger.in_hand(unit_ids) as free:
        units = await claim(runtime, free)
        claimed = (began, time.time_ns())
        log.debug("claimed %d of %d units", len(units), len(unit_ids))
        by_stage = groupby(units, key=lambda unit: (unit.run_id, unit.stage))
        await asyncio.gather(*(_execute_stage(runtime, list(group), claimed) for _, group in by_stage))


async def claim(runtime: Runtime, unit_ids: Sequence[int]) -> list[ClaimedUnit]:
    """Claim the units. One that cannot be read fails; if none can be claimed, return nothing."""
    try:
        return await claim_readable(runtime, unit_ids)
    except Exception as error:  # noqa: BLE001 (it is logged)
        await give_back(runtime, (), error)
        return []


async def _execute_stage(runtime: Runtime, units: list[ClaimedUnit], claimed: tuple[int, int]) -> None:
    try:
        context = await runtime.context(units[0].run_id)
        groups = steps.groups(context, units)
    except Exception as error:  # noqa: BLE001 (it is logged)
        await give_back(runtime, units, error)
        return
    await asyncio.gather(*(_execute_logged(runtime, context, group, claimed) for group in groups))


async def _execute_logged(
    runtime: Runtime, context: RunContext, units: list[ClaimedUnit], claimed: tuple[int, int]
) -> None:
    """Name the units in all that is logged and traced about them."""
    unit_ids = ",".join(str(unit.unit_id) for unit in units)
    with (
        about(run=context.run.id, stage=units[0].stage, unit=unit_ids),
        tracing.unit_spans(units, claimed) as spans,
    ):
        try:
            outcomes = await _execute_group(runtime, context, units)
        except Exception as error:  # noqa: BLE001 (it is logged)
            await give_back(runtime, units, error)
            return
        if spans:
            tracing.ended(spans, outcomes)
        for outcome in outcomes:
            # The name of a reason, never its detail, which may quote a prompt or an answer.
            level = logging.INFO if outcome.reason and not outcome.skipped else logging.DEBUG
            log.log(level, "unit %d: %s", outcome.unit.unit_id, outcome.reason or "done")


async def _execute_group(
    runtime: Runtime, context: RunContext, units: list[ClaimedUnit]
) -> Sequence[UnitOutcome]:
    """Do the work of units that end together, and commit their outcomes or release them."""
    run_id, stage = context.run.id, units[0].stage
    try:
        outcomes = await steps.execute(context, units)
    except AwaitingBatch:
        log.debug("waits in the ledger for the answer of a batch")
        return ()
    except UnitReleased:
        log.debug("released")
        await runtime.ledger.release(units)
        return ()
    except (errors.AccessError, errors.BudgetUsedUp, errors.ServiceError) as error:
        # No unit can succeed until a person changes something: pause the run, fail no unit.
        log.warning("run %s is paused: %s", run_id, error)
        await runtime.ledger(runs.stop_run, run_id, str(error), paused=True)
        await runtime.ledger.release(units)
        return ()
    except errors.WorkerUnusable as error:
        await runtime.ledger.release(units)
        runtime.fatal(str(error))
        return ()
    except errors.TaskFolderError as error:
        outcomes = [context.failed(unit, "task_folder", str(error)) for unit in units]
    except errors.BadRequest as error:
        outcomes = [context.refused(unit, error) for unit in units]
    except Exception as error:
        if passing_trouble(error) or database_refusal(error):
            raise
        log.exception("run %s: %s of units %s broke", run_id, stage, [unit.unit_id for unit in units])
        reason = NOT_STORABLE if is_unstorable(error) else "internal_error"
        detail = f"{type(error).__name__}: {cause(error)}"
        outcomes = [context.failed(unit, reason, detail) for unit in units]
    with tracing.span("commit"):
        return await commit_outcomes(runtime, context, outcomes)
