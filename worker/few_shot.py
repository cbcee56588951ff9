"""The worked examples that prompts show: chosen train examples to students; human seeds and right rationales
of the round before to the teacher. Draws are seeded by what stands in a row.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models.core.experiment.axes import RationaleSource
from models.core.experiment.options import Augment, Rationale, RationaleSeed
from models.core.identity import KeyedRows, draw, row_identity, sort_key
from models.core.pipeline.grid import Cell
from models.core.pipeline.rounds import round_of
from models.core.pipeline.stages import VECTOR, train_wording
from models.core.types import Exemplar, Passage
from models.core.words import named_question
from storage.ledger import examples, exemplars
from storage.ledger.claims import ClaimedUnit
from worker.run_context import RunContext, once_per_run

if TYPE_CHECKING:
    from models.core.retrieval.solved_examples import EmbeddingIndex


async def identity_of(context: RunContext, unit: ClaimedUnit) -> str:
    """Return the name of the unit's row for seeds; its number in a run that was planned with that."""
    if context.experiment.identity == "row":
        return str(unit.example.row)
    repeat = (await _equal_rows(context)).get(unit.example_id, 0)
    return row_identity(unit.example.request, unit.example.reference, repeat, unit.example.columns)


async def draw_train_rows(
    context: RunContext, accepted: frozenset[int], wanted: int, seed: str, without: Collection[int] = ()
) -> list[int]:
    """Draw `wanted` of the accepted examples of the train split but for a few, fewer if there are no more.
    Units that give the same `accepted` share what is read of them."""
    return (await _keyed_rows(context, accepted)).draw(wanted, seed, without)


@once_per_run
async def _keyed_rows(context: RunContext, accepted: frozenset[int]) -> KeyedRows:
    keys = await train_keys(context)
    return KeyedRows((key, example) for example, key in keys.items() if example in accepted)


@once_per_run
async def _equal_rows(context: RunContext) -> dict[int, int]:
    return await context.ledger(examples.equal_rows, context.run.dataset)


@once_per_run
async def train_keys(context: RunContext) -> Mapping[int, int]:
    """Return the `sort_key` of each example of the train split."""
    repeats = await _equal_rows(context)
    identities = await context.ledger(examples.train_identities, context.run.dataset, repeats)
    return {example: sort_key(identity) for example, identity in identities}


@dataclass(frozen=True, slots=True)
class ChosenExemplar:
    """A train example that a cell shows, and its `passages`, best first."""

    example: exemplars.ReasonedExample
    passages: Sequence[Passage]

    @property
    def row(self) -> int:
        return self.example.row

    def exemplar(self, context: RunContext, cell: Cell, passages: int) -> Exemplar:
        """Show the example with its request as written or augmented, as the cell says."""
        query = self.example.query if cell.augment_exemplars else self.example.request
        shown = context.present_passages(self.passages[:passages], cell.retrieval)
        example = self.example
        return Exemplar(query, example.reference, example.rationale, shown, example.columns)


async def choose_exemplars(context: RunContext, unit: ClaimedUnit, cell: Cell) -> list[ChosenExemplar]:
    """Choose `cell.shots` exemplars, fewer if the pool is smaller. None is of the row's own question: another
    wording of it would give the answer away.

    All cells of a test row meet the train rows in the same order. So they differ in what the grid varies and,
    if their pools hold the same rows, in nothing else.
    """
    if not cell.shots:
        return []
    ids = await _choose_ids(context, unit, cell)
    variant = ""
    if cell.retrieval:
        variant = context.searches.unit_name(train_wording(context.experiment), cell.retrieval)
    examples = await context.ledger(exemplars.load_exemplars, context.run.id, ids, cell.rationale, variant)
    return [
        ChosenExemplar(example, context.select_passages(example.passages, cell.retrieval))
        for example in examples
    ]


async def _choose_ids(context: RunContext, unit: ClaimedUnit, cell: Cell) -> list[int]:
    eligible = await _eligible(context, cell.rationale, cell.wrong_rationales, cell.train_rows)
    question = named_question(unit.example.question_id, unit.example.row)
    own = (await _asked_in_test(context)).get(question, frozenset())
    seed = f"{context.experiment.seed}/{context.experiment.grid.seeds[unit.sample]}"
    if cell.exemplars in ("random", "fixed"):
        seed += f"/{'fixed' if cell.exemplars == 'fixed' else await identity_of(context, unit)}"
        if context.experiment.identity == "content":
            return await draw_train_rows(context, eligible, cell.shots, seed, own)
        return draw_exemplars(await _pool(context), eligible - own, cell.shots, seed)
    if cell.exemplars == "diverse":
        covering = await _covering(context, eligible, cell.train_rows, cell.shots, f"{seed}/diverse")
        if own.isdisjoint(covering):
            return covering
        return await _covering(context, eligible - own, cell.train_rows, cell.shots, f"{seed}/diverse")
    from models.core.retrieval.solved_examples import unpack_vector

    vector = unpack_vector(unit.inputs["retrieve", VECTOR, 0]["vector"])
    index = await _embedding_index(context, cell.train_rows)
    near = await asyncio.to_thread(index.nearest, vector, eligible, cell.shots + len(own))
    return [example for example in near if example not in own][: cell.shots]


@once_per_run
async def _pool(context: RunContext) -> list[int]:
    return await context.ledger(exemplars.exemplar_pool, context.run)


@once_per_run
async def _eligible(
    context: RunContext, source: RationaleSource, wrong: bool, train_rows: int
) -> frozenset[int]:
    if train_rows:
        return await _eligible(context, source, wrong, 0) & await _first_train_rows(context, train_rows)
    eligible = await context.ledger(exemplars.eligible_examples, context.run, source, wrong=wrong)
    return eligible.intersection(await _pool(context))


@once_per_run
async def _first_train_rows(context: RunContext, number: int) -> frozenset[int]:
    """Return the first examples of the train split in a seeded order: a larger number contains a smaller."""
    keyed = ((key, example) for example, key in (await train_keys(context)).items())
    return frozenset(draw(keyed, number, f"{context.experiment.seed}/train_rows"))


@once_per_run
async def _asked_in_test(context: RunContext) -> dict[str, frozenset[int]]:
    return await context.ledger(exemplars.asked_in_test, context.run.id)


@once_per_run
async def _embedding_index(context: RunContext, train_rows: int) -> EmbeddingIndex:
    # Workers whose runs draw at random need no numpy.
    from models.core.retrieval.solved_examples import EmbeddingIndex

    keys = await train_keys(context) if context.experiment.identity == "content" else None
    vectors = await context.ledger(exemplars.request_vectors, context.run.id)
    if train_rows:
        first = await _first_train_rows(context, train_rows)
        vectors = [(example, vector) for example, vector in vectors if example in first]
    return EmbeddingIndex.of(vectors, keys)


@once_per_run
async def _covering_lock(_context: RunContext) -> asyncio.Lock:
    """Coverings are computed one at a time: each keeps a thread busy."""
    return asyncio.Lock()


@once_per_run
async def _covering(
    context: RunContext, eligible: frozenset[int], train_rows: int, shots: int, seed: str
) -> list[int]:
    """Choose `eligible` examples that cover the train requests; the same for all test rows of a seed."""
    index = await _embedding_index(context, train_rows)
    async with await _covering_lock(context):
        return await asyncio.to_thread(index.diverse, eligible, shots, seed)


def draw_exemplars(pool: Sequence[int], accepted: frozenset[int], shots: int, seed: str) -> list[int]:
    """Draw `shots` members of `accepted`, a subset of `pool`, in a seeded random order over `pool`, fewer if
    there are no more. The order goes by places: only runs whose rows are their numbers draw so."""
    rng = random.Random(seed)
    met: set[int] = set()
    drawn: list[int] = []
    wanted = min(shots, len(accepted))
    while len(drawn) < wanted and len(met) < len(pool):
        index = rng.randrange(len(pool))
        if index in met:
            continue
        met.add(index)
        if pool[index] in accepted:
            drawn.append(pool[index])
    return drawn


def augmentation_seeds(config: Augment) -> list[tuple[str, str]]:
    """Return (request, augmentation) pairs."""
    return [(seed.request, seed.augmentation) for seed in config.seeds]


def rationale_seeds(config: Rationale) -> list[Exemplar]:
    """Return the human seeds. Documentation that is one text becomes one passage without a name."""
    return [Exemplar(seed.request, "", seed.rationale, _passages(seed)) for seed in config.seeds]


def _passages(seed: RationaleSeed) -> tuple[Passage, ...]:
    named = [Passage("", shown.name, shown.signature, shown.text) for shown in seed.passages]
    text = seed.documentation.strip()
    return (*named, *([Passage("", "", "", text)] if text else []))


async def shown_to_teacher(context: RunContext, unit: ClaimedUnit) -> list[Exemplar]:
    """Return the number of worked examples that the experiment asks for. Human seeds fill up what right
    rationales of the round before do not."""
    wanted = context.experiment.rationale.exemplars
    number = round_of(unit.variant)
    if number == 1 or not wanted:
        return await _round_seeds(context, unit, wanted)
    ids = await _draw_accepted(context, unit, number - 1, wanted)
    retrieval = context.train_retrieval
    variant = context.searches.unit_name(train_wording(context.experiment), retrieval) if retrieval else ""
    worked = await context.ledger(exemplars.load_exemplars, context.run.id, ids, "star", variant, number - 1)
    own = [
        Exemplar(
            example.query,
            example.reference,
            example.rationale,
            context.present_passages(context.select_passages(example.passages, retrieval), retrieval),
            example.columns,
        )
        for example in worked
    ]
    return [*await _round_seeds(context, unit, wanted - len(own)), *own]


async def _draw_accepted(context: RunContext, unit: ClaimedUnit, number: int, wanted: int) -> list[int]:
    """Draw from the right rationales of a round. Leave out the example itself and other wordings of its
    question, which would give the answer away."""
    pool, by_question = await _accepted_rationales(context, number)
    question = named_question(unit.example.question_id, unit.example.row)
    own = by_question.get(question, frozenset()) | {unit.example_id}
    seed = f"{context.experiment.seed}/{await identity_of(context, unit)}/round-{round_of(unit.variant)}"
    if context.experiment.identity == "content":
        return await draw_train_rows(context, await _accepted_in(context, number), wanted, seed, own)
    return draw_exemplars(list(pool), frozenset(pool.keys() - own), wanted, seed)


@once_per_run
async def _accepted_in(context: RunContext, number: int) -> frozenset[int]:
    pool, _ = await _accepted_rationales(context, number)
    return frozenset(pool)


async def _round_seeds(context: RunContext, unit: ClaimedUnit, wanted: int) -> list[Exemplar]:
    """Keep the seeds in their own order: prompts then begin in fewer ways, and servers have more of them in
    their caches."""
    rng = random.Random(f"{context.experiment.seed}/{await identity_of(context, unit)}")
    seeds = rationale_seeds(context.experiment.rationale)
    retrieval = context.train_retrieval
    return [
        replace(seeds[index], passages=context.present_passages(seeds[index].passages, retrieval))
        for index in sorted(rng.sample(range(len(seeds)), min(wanted, len(seeds))))
    ]


@once_per_run
async def _accepted_rationales(
    context: RunContext, number: int
) -> tuple[dict[int, str], dict[str, frozenset[int]]]:
    """Return the question of each example with a right rationale in a round, in order, and the examples of
    each question that has a name."""
    pool = dict(await context.ledger(exemplars.accepted_examples, context.run.id, number))
    by_question: defaultdict[str, set[int]] = defaultdict(set)
    for example, question in pool.items():
        if question:
            by_question[question].add(example)
    return pool, {question: frozenset(of_question) for question, of_question in by_question.items()}
