"""Which synthetic examples a student is shown: random, fixed, the nearest, or such that cover all.

The human seeds of a run, as prompts show them.

What the teacher is shown: human seeds at first, then right rationales of the round before.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models.core.experiment.options import Augment, Rationale, RationaleSeed
from models.core.experiment.passages import BASE
from models.core.pipeline.grid import Cell
from models.core.pipeline.rounds import round_of
from models.core.pipeline.stages import VECTOR, train_wording
from models.core.retrieval.passage_selection import present
from models.core.types import Exemplar, Passage
from models.core.words import question_of
from storage.ledger import exemplars
from storage.ledger.claims import ClaimedUnit
from worker.run_context import RunContext

if TYPE_CHECKING:
    from models.core.retrieval.solved_examples import EmbeddingIndex


@dataclass(frozen=True, slots=True)
class ChosenExemplar:
    """A train example that a cell shows, and its `passages`, best first."""

    example: exemplars.Worked
    passages: Sequence[Passage]

    @property
    def row(self) -> int:
        return self.example.row

    def exemplar(self, context: RunContext, cell: Cell, passages: int) -> Exemplar:
        """What the test row shows, the exemplar shows: the request as written, or augmented."""
        query = self.example.query if cell.augment_test else self.example.request
        shown = context.presented(self.passages[:passages], cell.retrieval) if cell.retrieval else ()
        return Exemplar(query, self.example.reference, self.example.rationale, shown)


async def choose_exemplars(context: RunContext, unit: ClaimedUnit, cell: Cell) -> list[ChosenExemplar]:
    """`cell.shots` exemplars, or fewer where the pool is smaller; none of the row's own question, as
    another wording of it would give the answer away.

    Cells of one test row meet the train rows in the same order, so that they differ in what the grid
    varies and, as far as both pools hold the same rows, in nothing else.
    """
    if not cell.shots:
        return []
    ids = await _ids(context, unit, cell)
    found = (
        context.searches.variant(train_wording(context.experiment), cell.retrieval) if cell.retrieval else ""
    )
    examples = await context.runtime.ledger(exemplars.worked, context.run.id, ids, cell.rationale, found)
    return [
        ChosenExemplar(example, context.chosen(example.passages, cell.retrieval) if cell.retrieval else ())
        for example in examples
    ]


def draw_exemplars(pool: list[int], accepted: frozenset[int], shots: int, seed: str) -> list[int]:
    """`shots` members of `accepted`, a subset of `pool`, as a seeded walk over `pool` meets them."""
    wanted = min(shots, len(accepted))
    walk = random.Random(seed)
    met: set[int] = set()
    chosen: list[int] = []
    while len(chosen) < wanted:
        candidate = pool[walk.randrange(len(pool))]
        if candidate in met:
            continue
        met.add(candidate)
        if candidate in accepted:
            chosen.append(candidate)
    return chosen


async def _ids(context: RunContext, unit: ClaimedUnit, cell: Cell) -> list[int]:
    pool, accepted = await _pools(context, cell)
    own = await _own(context, unit)
    others = accepted - own if own else accepted
    seed = f"{context.experiment.seed}/{context.experiment.grid.seeds[unit.sample]}"
    if cell.exemplars == "random":
        return draw_exemplars(pool, others, cell.shots, f"{seed}/{unit.example.row}")
    if cell.exemplars == "fixed":
        return draw_exemplars(pool, others, cell.shots, f"{seed}/fixed")
    space = await _embedding_index(context)
    if cell.exemplars == "diverse":
        shared = await _covering(context, space, cell, accepted, frozenset(), f"{seed}/diverse")
        if own.isdisjoint(shared):
            return shared
        return await _covering(context, space, cell, accepted, own, f"{seed}/diverse")
    from models.core.retrieval.solved_examples import unpack

    vector = unpack(unit.inputs["retrieve", VECTOR, 0]["vector"])
    return space.nearest(vector, others, cell.shots)


async def _pools(context: RunContext, cell: Cell) -> tuple[list[int], frozenset[int]]:
    ledger = context.runtime.ledger
    if context.pool is None:
        context.pool = await ledger(exemplars.pool, context.run.id)
    if cell.rationale not in context.eligible:
        eligible = await ledger(exemplars.eligible, context.run, cell.rationale)
        context.eligible[cell.rationale] = eligible.intersection(context.pool)
    return context.pool, context.eligible[cell.rationale]


async def _own(context: RunContext, unit: ClaimedUnit) -> frozenset[int]:
    """The train examples of the row's own question."""
    if context.asked_in_test is None:
        context.asked_in_test = await context.runtime.ledger(exemplars.asked_in_test, context.run.id)
    return context.asked_in_test.get(question_of(unit.example.question_id, unit.example.row), frozenset())


async def _embedding_index(context: RunContext) -> EmbeddingIndex:
    """The vectors of the pool, read once."""
    # Workers whose runs draw at random need no numpy.
    from models.core.retrieval.solved_examples import EmbeddingIndex

    async with context.choosing:
        if context.space is None:
            context.space = EmbeddingIndex.of(await context.runtime.ledger(exemplars.vectors, context.run.id))
    return context.space


async def _covering(
    context: RunContext,
    space: EmbeddingIndex,
    cell: Cell,
    accepted: frozenset[int],
    own: frozenset[int],
    seed: str,
) -> list[int]:
    """The same for all test rows of a seed, less those of a question: found once, beside the loop."""
    key = (seed, cell.rationale, cell.shots, own)
    async with context.choosing:
        if key not in context.covering:
            context.covering[key] = await asyncio.to_thread(space.diverse, accepted - own, cell.shots, seed)
    return context.covering[key]


def augmentation_seeds(config: Augment) -> list[tuple[str, str]]:
    """(request, augmentation) pairs."""
    return [(seed.request, seed.augmentation) for seed in config.seeds]


def rationale_seeds(config: Rationale) -> list[Exemplar]:
    """Documentation that is one text becomes one passage without a name."""
    return [Exemplar(seed.request, "", seed.rationale, _passages(seed)) for seed in config.seeds]


def _passages(seed: RationaleSeed) -> tuple[Passage, ...]:
    named = [Passage("", shown.name, shown.signature, shown.text) for shown in seed.passages]
    text = seed.documentation.strip()
    return (*named, *([Passage("", "", "", text)] if text else []))


async def shown_to_teacher(context: RunContext, unit: ClaimedUnit) -> list[Exemplar]:
    """As many worked examples as the experiment asks for; where too few rationales of the round before are
    right, human seeds make up the number."""
    wanted = context.experiment.rationale.exemplars
    number = round_of(unit.variant)
    if number == 1 or not wanted:
        return _round_seeds(context, unit, wanted)
    pool = await _accepted_rationales(context, number - 1)
    seed = f"{context.experiment.seed}/{unit.example.row}/round-{number}"
    question = question_of(unit.example.question_id, unit.example.row)
    ids = draw_others(pool, unit.example_id, question, wanted, seed)
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
    return [*_round_seeds(context, unit, wanted - len(own)), *own]


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


def _round_seeds(context: RunContext, unit: ClaimedUnit, wanted: int) -> list[Exemplar]:
    """In their own order: fewer different beginnings, more of which the server has cached."""
    drawn = random.Random(f"{context.experiment.seed}/{unit.example.row}")
    seeds = rationale_seeds(context.experiment.rationale)
    return [
        replace(seeds[place], passages=present(seeds[place].passages, context.experiment.passages))
        for place in sorted(drawn.sample(range(len(seeds)), min(wanted, len(seeds))))
    ]


async def _accepted_rationales(context: RunContext, number: int) -> list[tuple[int, str]]:
    """Read once by each worker: the round is over."""
    async with context.choosing:
        if number not in context.accepted:
            context.accepted[number] = await context.runtime.ledger(
                exemplars.accepted, context.run.id, number
            )
    return context.accepted[number]
