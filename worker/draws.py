"""The names of rows in the seeds of draws, and draws of train rows."""

from __future__ import annotations

from collections.abc import Container, Mapping

from models.core.identity import draw, row_identity, sort_key
from storage.ledger import examples
from storage.ledger.claims import ClaimedUnit
from worker.run_context import RunContext, once_per_run


async def identity_of(context: RunContext, unit: ClaimedUnit) -> str:
    """Return the name of the unit's row for seeds; its number in a run that was planned with that."""
    if context.experiment.identity == "row":
        return str(unit.example.row)
    repeat = (await _equal_rows(context)).get(unit.example_id, 0)
    return row_identity(unit.example.request, unit.example.reference, repeat)


async def draw_train_rows(context: RunContext, accepted: Container[int], wanted: int, seed: str) -> list[int]:
    """Draw `wanted` of the accepted examples of the train split, fewer if there are no more."""
    keys = await train_keys(context)
    return draw(((key, example) for example, key in keys.items() if example in accepted), wanted, seed)


@once_per_run
async def _equal_rows(context: RunContext) -> dict[int, int]:
    return await context.ledger(examples.equal_rows, context.run.dataset)


@once_per_run
async def train_keys(context: RunContext) -> Mapping[int, int]:
    """Return the `sort_key` of each example of the train split."""
    identities = await context.ledger(examples.train_identities, context.run.dataset)
    return {example: sort_key(identity) for example, identity in identities}
