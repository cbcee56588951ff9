"""Which synthetic examples a student is shown: drawn at random for each test row, seeded."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from models.ablation import Cell
from models.stages import train_wording
from models.types import Exemplar, Passage
from storage.ledger import exemplars
from storage.ledger.claims import Work
from worker.context import RunContext


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
    """`cell.shots` exemplars, or fewer where the pool is smaller.

    Cells of one test row meet the train rows in the same order, so that they differ in what the grid
    varies and, as far as both pools hold the same rows, in nothing else.
    """
    if not cell.shots:
        return []
    ledger = context.runtime.ledger
    if context.pool is None:
        context.pool = await ledger(exemplars.pool, context.run.id)
    if cell.rationale not in context.eligible:
        eligible = await ledger(exemplars.eligible, context.run, cell.rationale)
        context.eligible[cell.rationale] = eligible.intersection(context.pool)
    seed = context.experiment.grid.seeds[work.sample]
    ids = draw(
        context.pool,
        context.eligible[cell.rationale],
        cell.shots,
        f"{context.experiment.seed}/{seed}/{work.example.row}",
    )
    found = (
        context.searches.variant(train_wording(context.experiment), cell.retrieval) if cell.retrieval else ""
    )
    examples = await ledger(exemplars.worked, context.run.id, ids, cell.rationale, found)
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
