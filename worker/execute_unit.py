"""The life of a unit, from the claim to the commit that ends it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from itertools import groupby

from models.core.errors import (
    AccessError,
    BadRequest,
    BudgetUsedUp,
    ServiceError,
    TaskFolderError,
    WorkerUnusable,
)
from storage.ledger import claims, runs
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from storage.logs import about
from worker import steps, tracing
from worker.model_calls import AwaitingBatch, UnitReleased
from worker.run_context import RunContext
from worker.runtime import Runtime

log = logging.getLogger(__name__)


async def execute_units(runtime: Runtime, unit_ids: Sequence[int]) -> None:
    """Units that are done, or in another worker's hands, are not claimed: their message is spent."""
    began = time.time_ns()
    units = await runtime.claim(unit_ids)
    claimed = (began, time.time_ns())
    log.debug("claimed %d of %d units", len(units), len(unit_ids))
    alike = [list(group) for _, group in groupby(units, key=lambda unit: (unit.run_id, unit.stage))]
    await asyncio.gather(*(_execute_stage(runtime, group, claimed) for group in alike))


async def _execute_stage(runtime: Runtime, units: list[ClaimedUnit], claimed: tuple[int, int]) -> None:
    context = await runtime.context(units[0].run_id)
    await asyncio.gather(
        *(_execute_logged(context, group, claimed) for group in steps.groups(context, units))
    )


async def _execute_logged(context: RunContext, units: list[ClaimedUnit], claimed: tuple[int, int]) -> None:
    """What is logged and traced in there says whose it is."""
    unit_ids = ",".join(str(unit.unit_id) for unit in units)
    with (
        about(run=context.run.id, stage=units[0].stage, unit=unit_ids),
        tracing.unit_spans(units, claimed) as spans,
    ):
        ended = await _execute_group(context, units)
        if spans:
            tracing.ended(spans, ended)
        for outcome in ended:
            # The name of a reason, never its detail, which may quote a prompt or an answer.
            level = logging.INFO if outcome.reason else logging.DEBUG
            log.log(level, "unit %d: %s", outcome.unit.unit_id, outcome.reason or "done")


async def _execute_group(context: RunContext, units: list[ClaimedUnit]) -> Sequence[UnitOutcome]:
    """Do units that end together, and commit what came of them, which is returned, or give them back."""
    runtime, stage = context.runtime, units[0].stage
    try:
        ended = await steps.do(context, units)
    except AwaitingBatch:
        log.debug("parked until its batch is answered")
        return ()
    except UnitReleased:
        log.debug("given back")
        await _release(runtime, units)
        return ()
    except (AccessError, BudgetUsedUp, ServiceError) as error:
        # No unit can succeed until a person changes something: stop the run, blame no row.
        log.warning("run %s is paused: %s", context.run.id, error)
        await runtime.ledger(runs.stop_run, context.run.id, str(error), paused=True)
        await _release(runtime, units)
        return ()
    except WorkerUnusable as error:
        await _release(runtime, units)
        runtime.give_up(str(error))
        return ()
    except TaskFolderError as error:
        ended = [context.failed(unit, "task_folder", str(error)) for unit in units]
    except BadRequest as error:
        ended = [context.refused(unit, error) for unit in units]
    except Exception as error:
        log.exception("run %s: %s of units %s broke", context.run.id, stage, [unit.unit_id for unit in units])
        ended = [context.failed(unit, "internal_error", f"{type(error).__name__}: {error}") for unit in units]
    with tracing.span("commit"):
        await runtime.finish(ended)
    return ended


async def _release(runtime: Runtime, units: list[ClaimedUnit]) -> None:
    await runtime.ledger(claims.release, runtime.owner, [unit.unit_id for unit in units])
