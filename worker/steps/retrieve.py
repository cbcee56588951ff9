"""retrieve: the documentation nearest to the request (paper, section 3.2). What is found is recorded with its
scores, more of it than is shown: what to show is chosen when a prompt is made."""

from __future__ import annotations

from collections.abc import Sequence

from models.retrieval import controls
from models.retrieval.records import to_record
from models.retrieval.selection import choose
from models.retrieval.settings import Passages
from models.stages import VECTOR
from models.types import Hit, Query
from storage.ledger.claims import Work
from storage.ledger.outcomes import Outcome
from worker.context import RunContext, query_of


async def retrieve(context: RunContext, works: list[Work]) -> list[Outcome]:
    """The queries of a task are encoded and searched together, one search after the other."""
    groups: dict[str, list[Work]] = {}
    vectors = [work for work in works if work.variant == VECTOR]
    ended = await _vectors(context, vectors) if vectors else []
    for work in works:
        if work.variant == VECTOR:
            continue
        groups.setdefault(work.variant.partition("/")[2], []).append(work)
    for group in groups.values():
        ended += await _together(context, group)
    return ended


async def _vectors(context: RunContext, works: list[Work]) -> list[Outcome]:
    """By them exemplars are chosen, in workers that have no encoder."""
    requests = [work.example.request for work in works]
    found = await context.runtime.resources.encode(context.experiment, requests)
    return [
        context.done(work, {"query": request, "vector": vector})
        for work, request, vector in zip(works, requests, found, strict=True)
    ]


async def _together(context: RunContext, works: list[Work]) -> list[Outcome]:
    _, config, depth = context.searches.of_variant(works[0].variant)
    if config.control == "oracle":
        found = await _right(context, config, works)
    else:
        queries = [_query(work) for work in works]
        found = await context.runtime.resources.search(context.experiment, config, queries, depth)
        if config.control:
            found = await _instead(context, config, works, found)
    return [
        context.done(work, {"query": query_of(work, _wording(work)), "passages": list(map(to_record, hits))})
        for work, hits in zip(works, found, strict=True)
    ]


async def _right(context: RunContext, config: Passages, works: list[Work]) -> list[list[Hit]]:
    ids = [list(work.example.oracle) for work in works]
    right = await context.runtime.resources.lookup(context.experiment, ids)
    return [controls.oracle(passages, config) for passages in right]


async def _instead(
    context: RunContext, config: Passages, works: list[Work], found: Sequence[Sequence[Hit]]
) -> list[list[Hit]]:
    """As much as would have been shown of what was `found`, of something else."""
    shown = [[hit.passage for hit in choose(hits, config)] for hits in found]
    if config.control == "filler":
        return [controls.filler(passages, config) for passages in shown]
    seeds = [f"{context.experiment.seed}/{work.split}/{work.example.row}" for work in works]
    counts = [controls.DRAWN * len(passages) for passages in shown]
    drawn = await context.runtime.resources.draw(context.experiment, seeds, counts)
    return [
        controls.random(passages, candidates, {*work.example.oracle, *(each.id for each in passages)}, config)
        for work, passages, candidates in zip(works, shown, drawn, strict=True)
    ]


def _wording(work: Work) -> str:
    return work.variant.partition("/")[0]


def _query(work: Work) -> Query:
    augmented = work.inputs["augment", "", 0] if _wording(work) == "augmented" else {}
    example = work.example
    return Query(example.request, augmented.get("augmentation", ""), example.question_id, example.oracle)
