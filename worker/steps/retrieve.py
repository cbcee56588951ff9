"""retrieve: the documentation nearest to the request (paper, section 3.2). What is found is recorded with its
scores, more of it than is shown: what to show is chosen when a prompt is made."""

from __future__ import annotations

from collections.abc import Sequence

from models.core.experiment.passages import Passages
from models.core.pipeline.stages import VECTOR
from models.core.retrieval import passage_selection
from models.core.retrieval.passage_selection import choose, to_record
from models.core.types import Hit, Query
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome
from worker.run_context import RunContext, query_of


async def retrieve(context: RunContext, units: list[ClaimedUnit]) -> list[UnitOutcome]:
    """The queries of a task are encoded and searched together, one search after the other."""
    groups: dict[str, list[ClaimedUnit]] = {}
    vectors = [unit for unit in units if unit.variant == VECTOR]
    ended = await _vectors(context, vectors) if vectors else []
    for unit in units:
        if unit.variant == VECTOR:
            continue
        groups.setdefault(unit.variant.partition("/")[2], []).append(unit)
    for group in groups.values():
        ended += await _together(context, group)
    return ended


async def _vectors(context: RunContext, units: list[ClaimedUnit]) -> list[UnitOutcome]:
    """By them exemplars are chosen, in workers that have no encoder."""
    requests = [unit.example.request for unit in units]
    found = await context.runtime.resources.encode(context.experiment, requests)
    return [
        context.done(unit, {"query": request, "vector": vector})
        for unit, request, vector in zip(units, requests, found, strict=True)
    ]


async def _together(context: RunContext, units: list[ClaimedUnit]) -> list[UnitOutcome]:
    _, config, depth = context.searches.of_variant(units[0].variant)
    if config.control == "oracle":
        found = await _right(context, config, units)
    else:
        queries = [_query(unit) for unit in units]
        found = await context.runtime.resources.search(context.experiment, config, queries, depth)
        if config.control:
            found = await _instead(context, config, units, found)
    return [
        context.done(unit, {"query": query_of(unit, _wording(unit)), "passages": list(map(to_record, hits))})
        for unit, hits in zip(units, found, strict=True)
    ]


async def _right(context: RunContext, config: Passages, units: list[ClaimedUnit]) -> list[list[Hit]]:
    ids = [list(unit.example.oracle) for unit in units]
    right = await context.runtime.resources.lookup(context.experiment, ids)
    return [passage_selection.oracle(passages, config) for passages in right]


async def _instead(
    context: RunContext, config: Passages, units: list[ClaimedUnit], found: Sequence[Sequence[Hit]]
) -> list[list[Hit]]:
    """As much as would have been shown of what was `found`, of something else."""
    shown = [[hit.passage for hit in choose(hits, config)] for hits in found]
    if config.control == "filler":
        return [passage_selection.filler(passages, config) for passages in shown]
    seeds = [f"{context.experiment.seed}/{unit.split}/{unit.example.row}" for unit in units]
    counts = [passage_selection.DRAWN * len(passages) for passages in shown]
    drawn = await context.runtime.resources.draw(context.experiment, seeds, counts)
    return [
        passage_selection.random(
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
