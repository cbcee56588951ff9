"""What a call for new requests is shown: seeds, and from the second round on some that were grown before.

grow: the teacher writes new requests and their answers (Self-Instruct, Wang et al., 2023).

What of it is kept, the gate decides when all have been written: units end in any order.
"""

from __future__ import annotations

import asyncio
import random

from models.core.answers.parsers import parse_pairs
from models.core.growth import GrowthCandidate, GrowthFilter
from models.core.pipeline.rounds import round_of
from models.core.types import Rejection
from storage.database import Database
from storage.ledger import examples
from storage.ledger.claims import ClaimedUnit
from storage.ledger.examples import SeedExample
from storage.ledger.outcomes import UnitOutcome
from storage.ledger.runs import Run
from worker.model_calls import ask_until_accepted
from worker.requests import chat
from worker.run_context import RunContext


async def shown_to_grow(context: RunContext, unit: ClaimedUnit) -> list[SeedExample]:
    """The unit's own example among others, in an order that the experiment's seed decides; where too little
    was grown, seeds make up the number."""
    config, example = context.experiment.grow, unit.example
    number = round_of(unit.variant)
    dice = random.Random(f"{context.experiment.seed}/{example.row}/{number}/{unit.sample}")
    grown: list[SeedExample] = []
    if wanted := config.grown_shown(number):
        pool = await _grown_before(context, number)
        grown = dice.sample(pool, min(wanted, len(pool)))
    seeds = await _grow_seeds(context)
    count = min(config.shown - len(grown), len(seeds)) - 1
    # Places of all rows but the unit's own. Another wording of its question may be shown: nothing is asked.
    others = [place + (place >= example.row) for place in dice.sample(range(len(seeds) - 1), count)]
    human = await context.runtime.ledger(
        examples.shown, [unit.example_id, *(seeds[place] for place in others)]
    )
    together = [*human, *grown]
    dice.shuffle(together)
    return together


async def _grow_seeds(context: RunContext) -> list[int]:
    """Read once by each worker: a run's dataset stays as it is."""
    async with context.choosing:
        if context.seeds is None:
            context.seeds = await context.runtime.ledger(examples.seeds, context.run)
    return context.seeds


async def _grown_before(context: RunContext, number: int) -> list[SeedExample]:
    """What the gate keeps of all rounds before `number`. Judged once by each worker, since these are over;
    beside the loop, because leases are kept there."""
    async with context.choosing:
        if number not in context.grown:
            gate, found = await context.runtime.ledger(_before, context.run, number)
            context.grown[number] = await asyncio.to_thread(_kept, gate, found)
    return context.grown[number]


def _before(db: Database, run: Run, number: int) -> tuple[GrowthFilter, list[GrowthCandidate]]:
    return examples.gate(db, run), [each.candidate for each in examples.candidates(db, run, number - 1)]


def _kept(gate: GrowthFilter, found: list[GrowthCandidate]) -> list[SeedExample]:
    return [SeedExample(each.id, each.request, each.answer) for each in found if gate.judge(each) is None]


SOFT_RETRIES = 2


async def grow(context: RunContext, unit: ClaimedUnit) -> UnitOutcome:
    config, teacher = context.experiment.grow, context.experiment.teacher
    shown = await shown_to_grow(context, unit)
    messages = context.wording.growth([(each.request, each.answer) for each in shown], config.requests)
    # A later round that is shown the same as an earlier one is not to have the same answer.
    sample = (round_of(unit.variant) - 1) * config.samples + unit.sample
    asked = await ask_until_accepted(
        context,
        unit,
        teacher,
        lambda attempt: chat(teacher, messages, {**teacher.params, **config.params}, (sample, attempt)),
        parse_pairs,
        SOFT_RETRIES,
    )
    if isinstance(asked.value, Rejection):
        return context.failed(asked.unit, asked.value.reason, asked.value.detail, generation=asked.generation,
                              purchase=asked.purchase, rejection=asked.value)  # fmt: skip
    result = {
        "shown": [each.name for each in shown],
        "pairs": [[pair.request, pair.answer, pair.flaw] for pair in asked.value],
    }
    return context.done(asked.unit, result, generation=asked.generation, purchase=asked.purchase)
