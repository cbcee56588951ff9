"""Which synthetic examples a student is shown: random, fixed, the nearest, or such that cover all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.ablation import Cell
from models.retrieval.words import question_of
from models.stages import VECTOR, train_wording
from models.types import Exemplar, Passage
from storage.ledger import exemplars
from storage.ledger.claims import Work
from worker.context import RunContext

if TYPE_CHECKING:
    from models.retrieval.nearness import Space


@dataclass(frozen=True, slots=True)
class Chosen:
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


async def choose(context: RunContext, work: Work, cell: Cell) -> list[Chosen]:
    """`cell.shots` exemplars, or fewer where the pool is smaller; none of the row's own question, as
    another wording of it would give the answer away.

    Cells of one test row meet the train rows in the same order, so that they differ in what the grid
    varies and, as far as both pools hold the same rows, in nothing else.
    """
    if not cell.shots:
        return []
    ids = await _ids(context, work, cell)
    found = (
        context.searches.variant(train_wording(context.experiment), cell.retrieval) if cell.retrieval else ""
    )
    examples = await context.runtime.ledger(exemplars.worked, context.run.id, ids, cell.rationale, found)
    return [
        Chosen(example, context.chosen(example.passages, cell.retrieval) if cell.retrieval else ())
        for example in examples
    ]


def draw(pool: list[int], accepted: frozenset[int], shots: int, seed: str) -> list[int]:
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


async def _ids(context: RunContext, work: Work, cell: Cell) -> list[int]:
    pool, accepted = await _pools(context, cell)
    own = await _own(context, work)
    others = accepted - own if own else accepted
    seed = f"{context.experiment.seed}/{context.experiment.grid.seeds[work.sample]}"
    if cell.exemplars == "random":
        return draw(pool, others, cell.shots, f"{seed}/{work.example.row}")
    if cell.exemplars == "fixed":
        return draw(pool, others, cell.shots, f"{seed}/fixed")
    space = await _space(context)
    if cell.exemplars == "diverse":
        shared = await _covering(context, space, cell, accepted, frozenset(), f"{seed}/diverse")
        if own.isdisjoint(shared):
            return shared
        return await _covering(context, space, cell, accepted, own, f"{seed}/diverse")
    from models.retrieval.nearness import unpack

    vector = unpack(work.inputs["retrieve", VECTOR, 0]["vector"])
    return space.nearest(vector, others, cell.shots)


async def _pools(context: RunContext, cell: Cell) -> tuple[list[int], frozenset[int]]:
    ledger = context.runtime.ledger
    if context.pool is None:
        context.pool = await ledger(exemplars.pool, context.run.id)
    if cell.rationale not in context.eligible:
        eligible = await ledger(exemplars.eligible, context.run, cell.rationale)
        context.eligible[cell.rationale] = eligible.intersection(context.pool)
    return context.pool, context.eligible[cell.rationale]


async def _own(context: RunContext, work: Work) -> frozenset[int]:
    """The train examples of the row's own question."""
    if context.asked_in_test is None:
        context.asked_in_test = await context.runtime.ledger(exemplars.asked_in_test, context.run.id)
    return context.asked_in_test.get(question_of(work.example.question_id, work.example.row), frozenset())


async def _space(context: RunContext) -> Space:
    """The vectors of the pool, read once."""
    # Workers whose runs draw at random need no numpy.
    from models.retrieval.nearness import Space

    async with context.choosing:
        if context.space is None:
            context.space = Space.of(await context.runtime.ledger(exemplars.vectors, context.run.id))
    return context.space


async def _covering(
    context: RunContext, space: Space, cell: Cell, accepted: frozenset[int], own: frozenset[int], seed: str
) -> list[int]:
    """The same for all test rows of a seed, less those of a question: found once, beside the loop."""
    key = (seed, cell.rationale, cell.shots, own)
    async with context.choosing:
        if key not in context.covering:
            context.covering[key] = await asyncio.to_thread(space.diverse, accepted - own, cell.shots, seed)
    return context.covering[key]
