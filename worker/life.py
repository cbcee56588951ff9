"""The life of a unit, from the claim to the commit that ends it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import groupby

from models.errors import AccessError, BadRequest, ServiceError
from storage.ledger import claims, outcomes, planning
from storage.ledger.claims import Work
from worker.asking import GivenBack, Parked
from worker.runtime import Runtime
from worker.steps import BATCH_STEPS, STEPS

log = logging.getLogger(__name__)


async def live(runtime: Runtime, unit_ids: Sequence[int]) -> None:
    """Units that are done, or in another worker's hands, are not claimed: their message is spent."""
    works = await runtime.ledger(claims.claim, runtime.owner, unit_ids, runtime.clock(), runtime.lease)
    batches = [list(group) for _, group in groupby(works, key=lambda work: (work.run_id, work.stage))]
    together = [batch for batch in batches if batch[0].stage in BATCH_STEPS]
    alone = [[work] for batch in batches if batch[0].stage not in BATCH_STEPS for work in batch]
    await asyncio.gather(*(_live(runtime, works) for works in together + alone))


async def _live(runtime: Runtime, works: list[Work]) -> None:
    """Units of one run and stage that end together, less those that are parked meanwhile."""
    context = await runtime.context(works[0].run_id)
    stage = works[0].stage
    try:
        if stage in BATCH_STEPS:
            ended = await BATCH_STEPS[stage](context, works)
        else:
            ended = [await STEPS[stage](context, works[0])]
    except Parked:
        return
    except GivenBack:
        await _give_back(runtime, works)
        return
    except (AccessError, ServiceError) as error:
        # No unit can succeed until a person changes something: stop the run, blame no row.
        log.warning("run %s is paused: %s", context.run.id, error)
        await runtime.ledger(planning.stop_run, context.run.id, str(error), paused=True)
        await _give_back(runtime, works)
        return
    except BadRequest as error:
        ended = [context.refused(work, error) for work in works]
    except Exception as error:
        log.exception("run %s: %s of units %s broke", context.run.id, stage, [work.unit_id for work in works])
        ended = [context.failed(work, "internal_error", f"{type(error).__name__}: {error}") for work in works]
    await runtime.ledger(outcomes.finish, ended, runtime.clock())


async def _give_back(runtime: Runtime, works: list[Work]) -> None:
    await runtime.ledger(claims.release, runtime.owner, [work.unit_id for work in works])
