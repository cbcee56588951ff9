"""The work of each stage: units with their inputs in, their outcomes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from worker.run_context import RunContext
from worker.steps.answer import answer
from worker.steps.augment import augment
from worker.steps.grow import grow
from worker.steps.judge import judge
from worker.steps.rationale import rationale, rationalize
from worker.steps.retrieve import retrieve

STEPS: dict[str, Callable[[RunContext, ClaimedUnit], Awaitable[UnitOutcome]]] = {
    "grow": grow,
    "rationale": rationale,
    "rationalize": rationalize,
    "answer": answer,
}
BATCH_STEPS: dict[str, Callable[[RunContext, list[ClaimedUnit]], Awaitable[list[UnitOutcome]]]] = {
    "augment": augment,
    "retrieve": retrieve,
    "judge": judge,
}


def groups(context: RunContext, units: Sequence[ClaimedUnit]) -> list[list[ClaimedUnit]]:
    """Group units of one run and stage: all together if one call or search serves them or if they take no
    time, else each alone."""
    stage, experiment = units[0].stage, context.experiment
    judge = experiment.judge
    alone = {
        "augment": experiment.augment.batch_size == 1,
        "judge": judge.execution or judge.correctness == "model",
    }
    shared = stage in BATCH_STEPS and not alone.get(stage, False)
    return [list(units)] if shared else [[unit] for unit in units]


async def execute(context: RunContext, units: list[ClaimedUnit]) -> list[UnitOutcome]:
    """Do the work of one group. Units that wait for a batch have no outcome yet."""
    stage = units[0].stage
    if stage in BATCH_STEPS:
        return await BATCH_STEPS[stage](context, units)
    return [await STEPS[stage](context, units[0])]
