"""What comes back from a batch: answers, refusals, and calls that have to be asked again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, select, update

from models.endpoints import Price
from models.types import Completion
from storage.database import Database
from storage.ledger import budget
from storage.ledger.batches import Batch, read_batch
from storage.ledger.filing import FILED, Refusal, unpark
from storage.ledger.generations import cost_nano_usd, storable
from storage.schema import BATCHES, GENERATIONS, UNSETTLED


def settle(db: Database, answers: Sequence[tuple[str, Completion]], price: Price, now: float) -> None:
    """Store answers by the keys of their calls, and free the units that wait for them.

    An answer that is already there stays. Settling twice changes nothing.
    """
    rows = [_answered(key, storable(completion), price) for key, completion in sorted(answers, key=_key)]
    if not rows:
        return
    with db.write() as connection:
        _settle_budgets(connection, {row["its_key"]: row["cost_nano_usd"] for row in rows})
        connection.execute(
            update(GENERATIONS)
            .where(GENERATIONS.c.key == bindparam("its_key"), GENERATIONS.c.done.is_(False))
            .values(done=True, lease_owner=None, lease_until=None, created_at=now),
            rows,
        )
        unpark(connection, [row["its_key"] for row in rows])


def refuse(db: Database, refusals: Sequence[tuple[str, Refusal]], now: float) -> None:
    """The provider refuses these calls for good; the units that wait for them hear it when they ask."""
    with db.write() as connection:
        _settle_budgets(connection, {key: 0 for key, _ in refusals})
        for key, refusal in sorted(refusals, key=_key):
            connection.execute(
                update(GENERATIONS)
                .where(GENERATIONS.c.key == key, FILED)
                .values(
                    lease_owner=None,
                    lease_until=now,
                    cost_nano_usd=0,
                    finish_reason=refusal.reason,
                    refusal=refusal.detail,
                )
            )
        unpark(connection, [key for key, _ in refusals])


def close(db: Database, batch_id: str, state: str, message: str, now: float) -> Batch:
    """The batch is final: what it brought no answer to is filed again, for the next one."""
    of_batch = GENERATIONS.c.batch == batch_id
    asked = and_(of_batch, GENERATIONS.c.done.is_(False), GENERATIONS.c.finish_reason.is_not(None))
    with db.write() as connection:
        numbers = {
            "answered": select(func.count()).where(of_batch, GENERATIONS.c.done.is_(True)),
            "refused": select(func.count()).where(asked),
        }
        counted = {name: connection.execute(query).scalar_one() for name, query in numbers.items()}
        connection.execute(update(GENERATIONS).where(of_batch, FILED).values(batch=None))
        connection.execute(
            update(BATCHES)
            .where(BATCHES.c.id == batch_id, BATCHES.c.state.in_(UNSETTLED))
            .values(state=state, message=message, settled_at=now, **counted)
        )
        return read_batch(connection, batch_id)


def _settle_budgets(connection: Connection, costs: Mapping[str, int]) -> None:
    """What the calls cost, by key, takes the place of what was set aside for them."""
    held = select(GENERATIONS.c.key, GENERATIONS.c.run_id, GENERATIONS.c.cost_nano_usd).where(
        GENERATIONS.c.key.in_(list(costs)), GENERATIONS.c.done.is_(False), GENERATIONS.c.cost_nano_usd > 0
    )
    differences: defaultdict[str, int] = defaultdict(int)
    for row in connection.execute(held):
        differences[row.run_id] += costs[row.key] - row.cost_nano_usd
    budget.settle(connection, differences)


def _answered(key: str, completion: Completion, price: Price) -> dict[str, Any]:
    usage = completion.usage
    return {
        "its_key": key, "answer": completion.text, "refusal": completion.refusal,
        "finish_reason": completion.finish_reason[:32], "prompt_tokens": usage.prompt,
        "cached_tokens": usage.cached, "completion_tokens": usage.completion,
        "cost_nano_usd": cost_nano_usd(usage, price),
    }  # fmt: skip


def _key(pair: tuple[str, object]) -> str:
    return pair[0]
