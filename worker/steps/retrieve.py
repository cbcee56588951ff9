"""retrieve: the documentation nearest to the request (paper, section 3.2)."""

from __future__ import annotations

from dataclasses import asdict

from models.retrieval.settings import Passages
from models.types import Hit
from storage.ledger.claims import Work
from storage.ledger.outcomes import Outcome
from worker.context import RunContext, query_of

CHARACTERS_PER_TOKEN = 4


async def retrieve(context: RunContext, works: list[Work]) -> list[Outcome]:
    """All queries of a task are encoded and searched together."""
    config = context.experiment.passages
    queries = [query_of(work, work.variant) for work in works]
    found = await context.runtime.resources.search(config, queries)
    return [
        context.done(work, {"query": query, "passages": [_stored(hit) for hit in shown(hits, config)]})
        for work, query, hits in zip(works, queries, found, strict=True)
    ]


def shown(hits: list[Hit], config: Passages) -> list[Hit]:
    """Those similar enough, best first, as many as the token budget holds (a token counted as four
    characters)."""
    kept = [hit for hit in hits if config.min_score is None or hit.score >= config.min_score]
    if config.token_budget is None:
        return kept
    room = config.token_budget * CHARACTERS_PER_TOKEN
    fitting: list[Hit] = []
    for hit in kept:
        room -= len(hit.passage.name) + len(hit.passage.signature) + len(hit.passage.text)
        if room < 0:
            break
        fitting.append(hit)
    return fitting


def _stored(hit: Hit) -> dict[str, object]:
    return {**asdict(hit.passage), "score": round(hit.score, 6)}
