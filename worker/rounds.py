"""What the teacher is shown: human seeds at first, then right rationales of the round before."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from models.retrieval.forms import present
from models.retrieval.settings import BASE
from models.retrieval.words import question_of
from models.rounds import round_of
from models.stages import train_wording
from models.types import Exemplar
from storage.ledger import exemplars
from storage.ledger.claims import Work
from worker.context import RunContext
from worker.seeds import rationale_seeds


async def shown_to_teacher(context: RunContext, work: Work) -> list[Exemplar]:
    """As many worked examples as the experiment asks for; where too few rationales of the round before are
    right, human seeds make up the number."""
    wanted = context.experiment.rationale.exemplars
    number = round_of(work.variant)
    if number == 1 or not wanted:
        return _seeds(context, work, wanted)
    pool = await _accepted(context, number - 1)
    seed = f"{context.experiment.seed}/{work.example.row}/round-{number}"
    question = question_of(work.example.question_id, work.example.row)
    ids = draw_others(pool, work.example_id, question, wanted, seed)
    found = context.searches.variant(train_wording(context.experiment), BASE)
    worked = await context.runtime.ledger(exemplars.worked, context.run.id, ids, "star", found, number - 1)
    own = [
        Exemplar(
            example.query,
            example.reference,
            example.rationale,
            context.presented(context.chosen(example.passages, BASE), BASE),
        )
        for example in worked
    ]
    return [*_seeds(context, work, wanted - len(own)), *own]


def draw_others(
    pool: Sequence[tuple[int, str]], example_id: int, question: str, wanted: int, seed: str
) -> list[int]:
    """`wanted` examples of the `pool` of (example, question), or as many as there are: neither the example
    itself nor another wording of its question, which would give the answer away."""
    walk = random.Random(seed)
    met: set[int] = set()
    chosen: list[int] = []
    while len(chosen) < wanted and len(met) < len(pool):
        place = walk.randrange(len(pool))
        if place in met:
            continue
        met.add(place)
        other, asked = pool[place]
        if other != example_id and (not question or asked != question):
            chosen.append(other)
    return chosen


def _seeds(context: RunContext, work: Work, wanted: int) -> list[Exemplar]:
    """In their own order: fewer different beginnings, more of which the server has cached."""
    drawn = random.Random(f"{context.experiment.seed}/{work.example.row}")
    seeds = rationale_seeds(context.experiment.rationale)
    return [
        replace(seeds[place], passages=present(seeds[place].passages, context.experiment.passages))
        for place in sorted(drawn.sample(range(len(seeds)), min(wanted, len(seeds))))
    ]


async def _accepted(context: RunContext, number: int) -> list[tuple[int, str]]:
    """Read once by each worker: the round is over."""
    async with context.choosing:
        if number not in context.accepted:
            context.accepted[number] = await context.runtime.ledger(
                exemplars.accepted, context.run.id, number
            )
    return context.accepted[number]
