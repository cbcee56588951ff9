"""The stage grow: the teacher writes new requests and their answers (Self-Instruct, Wang et al., 2023).

The growth filter chooses among them when all are written, because units end in any order.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Sequence

from models.core.answers.parsers import parse_pairs
from models.core.growth import GrowthCandidate, GrowthFilter
from models.core.identity import draw, row_identity, sort_key
from models.core.pipeline.rounds import round_of
from models.core.types import Rejection
from storage.database import Database
from storage.ledger import examples
from storage.ledger.claims import ClaimedUnit
from storage.ledger.examples import SeedExample
from storage.ledger.outcomes import UnitOutcome
from storage.ledger.runs import Run
from worker.few_shot import draw_train_rows, identity_of
from worker.model_calls import ask_until_accepted
from worker.requests import chat_attempts
from worker.run_context import RunContext, once_per_run

SOFT_RETRIES = 2


async def grow(context: RunContext, unit: ClaimedUnit) -> UnitOutcome:
    config, teacher = context.experiment.grow, context.experiment.model("teacher")
    shown = await shown_to_grow(context, unit)
    messages = context.wording.growth([(each.request, each.answer) for each in shown], config.requests)
    # The round counts too: with the same examples, a later round must not get the same answer.
    sample = (round_of(unit.variant) - 1) * config.samples + unit.sample
    render = chat_attempts(teacher, messages, config.params, sample)
    checked = await ask_until_accepted(context, unit, teacher, render, parse_pairs, SOFT_RETRIES)
    if isinstance(checked.value, Rejection):
        return context.rejected(checked.unit, checked.value, checked.generation, checked.purchase)
    result = {
        "shown": [each.name for each in shown],
        "pairs": [[pair.request, pair.answer, pair.flaw] for pair in checked.value],
    }
    return context.done(checked.unit, result, generation=checked.generation, purchase=checked.purchase)


async def shown_to_grow(context: RunContext, unit: ClaimedUnit) -> list[SeedExample]:
    """Return the unit's own example among others, in an order that the experiment's seed decides. From the
    second round on some are grown ones; seeds fill up what too few grown ones leave."""
    config = context.experiment.grow
    number = round_of(unit.variant)
    seed = f"{context.experiment.seed}/{await identity_of(context, unit)}/{number}/{unit.sample}"
    wanted = config.grown_shown(number)
    pool = await _grown_before(context, number) if wanted else []
    rng, wanted = random.Random(seed), min(wanted, len(pool))
    if context.experiment.identity == "row":
        grown = rng.sample(pool, wanted) if pool else []
    else:
        keys = (sort_key(row_identity(each.request, each.answer)) for each in pool)
        grown = draw(zip(keys, pool, strict=True), wanted, seed)
    others = await _other_seeds(context, unit, config.shown - len(grown), rng, seed)
    human = await context.ledger(examples.seed_examples, [unit.example_id, *others])
    together = [*human, *grown]
    rng.shuffle(together)
    return together


async def _other_seeds(
    context: RunContext, unit: ClaimedUnit, shown: int, rng: random.Random, seed: str
) -> list[int]:
    """Draw all of the `shown` train examples but the unit's own. Another wording of its question may be among
    them: nothing is asked."""
    seeds, row = await _grow_seeds(context), unit.example.row
    count = min(shown, len(seeds)) - 1
    if context.experiment.identity == "content":
        return await draw_train_rows(context, await _all_seeds(context), count, seed, {unit.example_id})
    return [seeds[index + (index >= row)] for index in rng.sample(range(len(seeds) - 1), count)]


@once_per_run
async def _grow_seeds(context: RunContext) -> list[int]:
    return await context.ledger(examples.seed_ids, context.run)


@once_per_run
async def _all_seeds(context: RunContext) -> frozenset[int]:
    return frozenset(await _grow_seeds(context))


@once_per_run
async def _grown_before(context: RunContext, number: int) -> list[SeedExample]:
    """Return what the filter keeps of all rounds before `number`. They are over, so it stays the same, and
    each is read and judged once."""
    if number == 1:
        return []
    earlier = await _grown_before(context, number - 1)
    judged = await _judged_rounds(context)
    candidates = await context.ledger(_candidates, context.run, number - 1)
    # The filter runs in a thread of its own, because the loop and the ledger's threads keep leases.
    return [*earlier, *await asyncio.to_thread(judged.keep, number - 1, candidates)]


def _candidates(db: Database, run: Run, number: int) -> list[GrowthCandidate]:
    return [each.candidate for each in examples.candidates_of_round(db, run, number)]


@once_per_run
async def _judged_rounds(context: RunContext) -> JudgedRounds:
    return JudgedRounds(await context.ledger(examples.growth_filter, context.run))


class JudgedRounds:
    """The rounds that a filter has judged, and what it kept of each: it remembers, so that it may judge none
    twice, also if the caller did not wait for the first time."""

    def __init__(self, growth_filter: GrowthFilter) -> None:
        self._filter = growth_filter
        self._kept: dict[int, list[SeedExample]] = {}
        self._judging = threading.Lock()

    def keep(self, number: int, candidates: Sequence[GrowthCandidate]) -> list[SeedExample]:
        """Return what is kept of a round, after all rounds before it."""
        with self._judging:
            if number not in self._kept:
                self._kept[number] = [
                    SeedExample(each.id, each.request, each.answer)
                    for each in candidates
                    if self._filter.judge(each) is None
                ]
            return self._kept[number]
