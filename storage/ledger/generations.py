"""Model calls are bought once: looked up by the hash of the request, claimed before the call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from models.experiment import Price
from models.types import Completion, Request, Usage
from storage.database import Database
from storage.ledger.claims import Work
from storage.schema import BATCH, GENERATIONS, RUNS


@dataclass(frozen=True, slots=True)
class Purchase:
    """An answer that was paid for and is not yet in the ledger. `seconds` is the call's latency."""

    request: Request
    completion: Completion
    cost_nano_usd: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Busy:
    """Another worker is buying this answer at the moment."""


def cost_nano_usd(usage: Usage, price: Price) -> int:
    """Exact up to the last step, which rounds the whole to billionths of a dollar.

    cost = (prompt - cached) * input + cached * cached_input + completion * output
    """
    cached_input = price.input if price.cached_input is None else price.cached_input
    dollars_per_million = (
        (usage.prompt - usage.cached, price.input),
        (usage.cached, cached_input),
        (usage.completion, price.output),
    )
    return round(sum(tokens * Decimal(str(dollars)) * 1000 for tokens, dollars in dollars_per_million))


def reserve(
    db: Database, owner: str, work: Work, request: Request, now: float, lease: float
) -> Completion | Busy | None:
    """The stored answer; or Busy; or None, and then the caller owns the purchase."""
    row = {
        "key": request.key, "run_id": work.run_id, "unit_id": work.unit_id, "stage": work.stage,
        "model": request.model, "done": False, "lease_owner": owner, "lease_until": now + lease,
        "prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0, "cost_nano_usd": 0, "created_at": now,
    }  # fmt: skip
    dialect = sqlite if db.is_sqlite else postgresql
    claim = dialect.insert(GENERATIONS).values(row)
    taken_over = {name: claim.excluded[name] for name in ("run_id", "unit_id", "lease_owner", "lease_until")}
    # Nobody fetches the answers of a batch while its run is not fed: waiting for them would have no end.
    fetched = exists().where(RUNS.c.id == GENERATIONS.c.run_id, RUNS.c.feeder_until >= now)
    unfetched = and_(GENERATIONS.c.lease_owner == BATCH, ~fetched)
    abandoned = and_(GENERATIONS.c.done.is_(False), or_(GENERATIONS.c.lease_until < now, unfetched))
    statement = claim.on_conflict_do_update(
        index_elements=["key"], set_=taken_over, where=abandoned
    ).returning(GENERATIONS.c.key)
    with db.write() as connection:
        if connection.execute(statement).one_or_none():
            return None
        found = connection.execute(select(GENERATIONS).where(GENERATIONS.c.key == request.key)).one_or_none()
    if found is None or not found.done:
        return Busy()
    return stored(found)


def stored(row: Any) -> Completion:
    """The answer in a generation that is done."""
    usage = Usage(row.prompt_tokens, row.cached_tokens, row.completion_tokens)
    return Completion(row.answer, row.finish_reason, usage, row.refusal)


def storable(completion: Completion) -> Completion:
    """No database stores null characters or lone surrogates in text."""
    text, refusal = completion.text, completion.refusal
    return replace(completion, text=text and _clean(text), refusal=refusal and _clean(refusal))


def abandon(db: Database, owner: str, key: str) -> None:
    """The call brought no answer; whoever needs it next may buy it at once."""
    with db.write() as connection:
        connection.execute(
            delete(GENERATIONS).where(
                GENERATIONS.c.key == key,
                GENERATIONS.c.lease_owner == owner,
                GENERATIONS.c.done.is_(False),
            )
        )


def book(connection: Connection, work: Work, purchase: Purchase, now: float) -> None:
    """Store answer, usage and cost, within the transaction of the unit that asked.

    An answer that is already there stays: if a lease ran out in mid-call and two were bought, every
    row built on the first remains true.
    """
    request, completion = purchase.request, purchase.completion
    row: dict[str, Any] = {
        "key": request.key, "run_id": work.run_id, "unit_id": work.unit_id, "stage": work.stage,
        "model": request.model, "done": True, "lease_owner": None, "lease_until": None,
        "request": request.body(), "answer": completion.text, "refusal": completion.refusal,
        "finish_reason": completion.finish_reason[:32],
        "prompt_tokens": completion.usage.prompt, "cached_tokens": completion.usage.cached,
        "completion_tokens": completion.usage.completion, "cost_nano_usd": purchase.cost_nano_usd,
        "seconds": purchase.seconds, "created_at": now,
    }  # fmt: skip
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(GENERATIONS).values(row)
    updated = {name: insert.excluded[name] for name in row if name != "key"}
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=["key"], set_=updated, where=GENERATIONS.c.done.is_(False)
        )
    )


def _clean(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()
