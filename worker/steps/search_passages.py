"""The stage retrieve: the documentation nearest to the request (paper, section 3.2).

More hits are recorded, with their scores, than are shown: passages are chosen when a prompt is made.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.core.experiment.passages import Passages
from models.core.pipeline.stages import VECTOR
from models.core.retrieval import passage_selection
from models.core.retrieval.passage_selection import filter_hits, hit_record
from models.core.types import Hit, Query
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from worker.few_shot import identity_of
from worker.run_context import RunContext, query_of


async def retrieve(context: RunContext, units: list[ClaimedUnit]) -> list[UnitOutcome]:
    """Encode and search the queries of a task together, one search after the other."""
    groups: dict[str, list[ClaimedUnit]] = {}
    vectors = [unit for unit in units if unit.variant == VECTOR]
    outcomes = await _vectors(context, vectors) if vectors else []
    for unit in units:
        if unit.variant == VECTOR:
            continue
        groups.setdefault(unit.variant.partition("/")[2], []).append(unit)
    for group in groups.values():
        outcomes += await _together(context, group)
    return outcomes


async def _vectors(context: RunContext, units: list[ClaimedUnit]) -> list[UnitOutcome]:
    """Record the vectors of the requests, by which workers without an encoder choose exemplars."""
    requests = [unit.example.request for unit in units]
    vectors = await context.clients.retrieve(context.experiment, lambda retriever: retriever.encode(requests))
    return [
        context.done(unit, {"query": request, "vector": vector})
        for unit, request, vector in zip(units, requests, vectors, strict=True)
    ]


async def _together(context: RunContext, units: list[ClaimedUnit]) -> list[UnitOutcome]:
    _, config, depth = context.searches.parse_unit_name(units[0].variant)
    if config.control == "oracle":
        hits = await _oracle(context, config, units)
    else:
        queries = [_query(unit) for unit in units]
        hits = await context.clients.retrieve(
            context.experiment, lambda retriever: retriever.search(queries, depth, config)
        )
        if config.control:
            hits = await _control(context, config, units, hits)
    return [
        context.done(unit, {"query": query_of(unit, _wording(unit)), "passages": list(map(hit_record, row))})
        for unit, row in zip(units, hits, strict=True)
    ]


async def _oracle(context: RunContext, config: Passages, units: list[ClaimedUnit]) -> list[list[Hit]]:
    """Return the passages that the dataset names as right."""
    right = await context.clients.retrieve(
        context.experiment, lambda retriever: [retriever.lookup(unit.example.oracle) for unit in units]
    )
    return [passage_selection.oracle_passages(passages, config) for passages in right]


async def _control(
    context: RunContext, config: Passages, units: list[ClaimedUnit], hits: Sequence[Sequence[Hit]]
) -> list[list[Hit]]:
    """Replace what would have been shown of `hits` by other text of the same amount."""
    shown = [[hit.passage for hit in filter_hits(row, config)] for row in hits]
    if config.control == "filler":
        return [passage_selection.filler_passages(passages, config) for passages in shown]
    identities = [await identity_of(context, unit) for unit in units]
    seeds = [
        f"{context.experiment.seed}/{unit.split}/{identity}"
        for unit, identity in zip(units, identities, strict=True)
    ]
    counts = [passage_selection.DRAWN * len(passages) for passages in shown]
    drawn = await context.clients.retrieve(
        context.experiment, lambda retriever: list(map(retriever.draw, seeds, counts))
    )
    return [
        passage_selection.random_passages(
            passages, candidates, {*unit.example.oracle, *(each.id for each in passages)}, config
        )
        for unit, passages, candidates in zip(units, shown, drawn, strict=True)
    ]


def _wording(unit: ClaimedUnit) -> str:
    return unit.variant.partition("/")[0]


def _query(unit: ClaimedUnit) -> Query:
    augmented = unit.inputs["augment", "", 0] if _wording(unit) == "augmented" else {}
    example = unit.example
    return Query(example.request, augmented.get("augmentation", ""), example.question_id, example.oracle)
