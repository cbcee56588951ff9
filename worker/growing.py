"""What a call for new requests is shown: seeds, and from the second round on some that were grown before."""

from __future__ import annotations

import asyncio
import random

from models.growth.gate import Candidate, Gate
from models.rounds import round_of
from storage.database import Database
from storage.ledger import growth
from storage.ledger.claims import Work
from storage.ledger.growth import Shown
from storage.ledger.planning import Run
from worker.context import RunContext


async def shown_to_grow(context: RunContext, work: Work) -> list[Shown]:
    """The unit's own example among others, in an order that the experiment's seed decides; where too little
    was grown, seeds make up the number."""
    config, example = context.experiment.grow, work.example
    number = round_of(work.variant)
    dice = random.Random(f"{context.experiment.seed}/{example.row}/{number}/{work.sample}")
    grown: list[Shown] = []
    if wanted := config.grown_shown(number):
        pool = await _grown_before(context, number)
        grown = dice.sample(pool, min(wanted, len(pool)))
    seeds = await _seeds(context)
    count = min(config.shown - len(grown), len(seeds)) - 1
    # Places of all rows but the unit's own. Another wording of its question may be shown: nothing is asked.
    others = [place + (place >= example.row) for place in dice.sample(range(len(seeds) - 1), count)]
    human = await context.runtime.ledger(growth.shown, [work.example_id, *(seeds[place] for place in others)])
    together = [*human, *grown]
    dice.shuffle(together)
    return together


async def _seeds(context: RunContext) -> list[int]:
    """Read once by each worker: a run's dataset stays as it is."""
    async with context.choosing:
        if context.seeds is None:
            context.seeds = await context.runtime.ledger(growth.seeds, context.run)
    return context.seeds


async def _grown_before(context: RunContext, number: int) -> list[Shown]:
    """What the gate keeps of all rounds before `number`. Judged once by each worker, since these are over;
    beside the loop, because leases are kept there."""
    async with context.choosing:
        if number not in context.grown:
            gate, found = await context.runtime.ledger(_before, context.run, number)
            context.grown[number] = await asyncio.to_thread(_kept, gate, found)
    return context.grown[number]


def _before(db: Database, run: Run, number: int) -> tuple[Gate, list[Candidate]]:
    return growth.gate(db, run), [each.candidate for each in growth.candidates(db, run, number - 1)]


def _kept(gate: Gate, found: list[Candidate]) -> list[Shown]:
    return [Shown(each.id, each.request, each.answer) for each in found if gate.judge(each) is None]
