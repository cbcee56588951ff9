"""The life of a unit, from the claim to the commit that ends it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from itertools import groupby

from models.errors import AccessError, BadRequest, BudgetUsedUp, ServiceError, TaskFolderError, WorkerUnfit
from storage.ledger import claims, planning
from storage.ledger.claims import Work
from storage.ledger.outcomes import Outcome
from storage.logs import about
from worker import steps, tracing
from worker.asking import Parked
from worker.calling import GivenBack
from worker.context import RunContext
from worker.runtime import Runtime

log = logging.getLogger(__name__)


async def live(runtime: Runtime, unit_ids: Sequence[int]) -> None:
    """Units that are done, or in another worker's hands, are not claimed: their message is spent."""
    began = time.time_ns()
    works = await runtime.claim(unit_ids)
    claimed = (began, time.time_ns())
    log.debug("claimed %d of %d units", len(works), len(unit_ids))
    alike = [list(group) for _, group in groupby(works, key=lambda work: (work.run_id, work.stage))]
    await asyncio.gather(*(_live(runtime, group, claimed) for group in alike))


async def _live(runtime: Runtime, works: list[Work], claimed: tuple[int, int]) -> None:
    context = await runtime.context(works[0].run_id)
    await asyncio.gather(*(_end_told(context, group, claimed) for group in steps.groups(context, works)))


async def _end_told(context: RunContext, works: list[Work], claimed: tuple[int, int]) -> None:
    """What is logged and traced in there says whose it is."""
    units = ",".join(str(work.unit_id) for work in works)
    with (
        about(run=context.run.id, stage=works[0].stage, unit=units),
        tracing.unit_spans(works, claimed) as spans,
    ):
        ended = await _end(context, works)
        if spans:
            tracing.ended(spans, ended)
        for outcome in ended:
            # The name of a reason, never its detail, which may quote a prompt or an answer.
            level = logging.INFO if outcome.reason else logging.DEBUG
            log.log(level, "unit %d: %s", outcome.work.unit_id, outcome.reason or "done")


async def _end(context: RunContext, works: list[Work]) -> Sequence[Outcome]:
    """Do units that end together, and commit what came of them, which is returned, or give them back."""
    runtime, stage = context.runtime, works[0].stage
    try:
        ended = await steps.do(context, works)
    except Parked:
        log.debug("parked until its batch is answered")
        return ()
    except GivenBack:
        log.debug("given back")
        await _give_back(runtime, works)
        return ()
    except (AccessError, BudgetUsedUp, ServiceError) as error:
        # No unit can succeed until a person changes something: stop the run, blame no row.
        log.warning("run %s is paused: %s", context.run.id, error)
        await runtime.ledger(planning.stop_run, context.run.id, str(error), paused=True)
        await _give_back(runtime, works)
        return ()
    except WorkerUnfit as error:
        await _give_back(runtime, works)
        runtime.give_up(str(error))
        return ()
    except TaskFolderError as error:
        ended = [context.failed(work, "task_folder", str(error)) for work in works]
    except BadRequest as error:
        ended = [context.refused(work, error) for work in works]
    except Exception as error:
        log.exception("run %s: %s of units %s broke", context.run.id, stage, [work.unit_id for work in works])
        ended = [context.failed(work, "internal_error", f"{type(error).__name__}: {error}") for work in works]
    with tracing.span("commit"):
        await runtime.finish(ended)
    return ended


async def _give_back(runtime: Runtime, works: list[Work]) -> None:
    await runtime.ledger(claims.release, runtime.owner, [work.unit_id for work in works])
