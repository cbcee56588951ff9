"""The work of each stage: units with their inputs in, their outcomes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from models.core.pipeline.plan import shares_work
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from worker.run_context import RunContext
from worker.step_services import execute_step
from worker.steps.answer import answer
from worker.steps.augment import augment
from worker.steps.grow import grow
from worker.steps.judge_answers import judge
from worker.steps.rationale import rationale, rationalize
from worker.steps.search_passages import retrieve


def one_by_one(
    step: Callable[[RunContext, ClaimedUnit], Awaitable[UnitOutcome]],
) -> Callable[[RunContext, list[ClaimedUnit]], Awaitable[list[UnitOutcome]]]:
    """Return a step of a group for one that takes a single unit."""

    async def execute_each(context: RunContext, units: list[ClaimedUnit]) -> list[UnitOutcome]:
        return [await step(context, unit) for unit in units]

    return execute_each


# The stages of the pipeline `star`. Each takes the units of one group.
STAGE_STEPS: dict[str, Callable[[RunContext, list[ClaimedUnit]], Awaitable[list[UnitOutcome]]]] = {
    "grow": one_by_one(grow),
    "augment": augment,
    "retrieve": retrieve,
    "rationale": one_by_one(rationale),
    "rationalize": one_by_one(rationalize),
    "answer": one_by_one(answer),
    "judge": judge,
}


def groups(context: RunContext, units: Sequence[ClaimedUnit]) -> list[list[ClaimedUnit]]:
    """Group units of one run and step: all together if one call or search serves them or if they take no
    time, else each alone."""
    together = shares_work(context.experiment, units[0].stage)
    return [list(units)] if together else [[unit] for unit in units]


async def execute(context: RunContext, units: list[ClaimedUnit]) -> list[UnitOutcome]:
    """Do the work of one group. Units that wait for a batch have no outcome yet."""
    execute_group = execute_step if units[0].kind else STAGE_STEPS[units[0].stage]
    return await execute_group(context, units)
