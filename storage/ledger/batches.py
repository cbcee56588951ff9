"""Batches of enqueued calls, and what the provider returns: answers, refusals, unanswered calls."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, func, insert, or_, select, update

from models.core.answers.cleaning import clean_completion
from models.core.experiment.endpoints import Price
from models.core.tokens import TokenEstimate
from models.core.types import Completion, Request
from storage.database import Database
from storage.ledger import budget
from storage.ledger.batch_enqueue import AWAITING_BATCH, ENQUEUED, BatchRefusal, release_awaiting
from storage.ledger.counters import add_batch_spending
from storage.ledger.purchases import answer_columns, cost_nano_usd
from storage.schema import BATCHES, GATHERED, GENERATIONS, READY, RUNS, UNITS, UNSETTLED

PAGE = 500
# Most characters of a line besides its request: key, method and path.
MAX_OVERHEAD = 200


@dataclass(frozen=True, slots=True)
class Batch:
    """`endpoint` is a path such as `/v1/chat/completions`, `remote` the provider's name of the batch."""

    id: str
    run_id: str
    state: str
    endpoint: str
    input_file: str | None
    remote: str | None
    requests: int
    answered: int
    refused: int
    message: str
    created_at: float
    submitted_at: float | None
    settled_at: float | None


# Another run may have enqueued the call first; every run that needs the answer may fetch it.
_NEEDED = exists().where(UNITS.c.generation == GENERATIONS.c.key, AWAITING_BATCH)


def enqueued(db: Database, run_id: str) -> tuple[int, float]:
    """Return how many enqueued calls the run needs, and when the last of them was enqueued."""
    query = select(func.count(), func.coalesce(func.max(GENERATIONS.c.created_at), 0.0)).where(
        *_unbatched(run_id)
    )
    with db.read() as connection:
        count, last = connection.execute(query).one()
    return int(count), float(last)


def expects_more(db: Database, run_id: str, queues: Sequence[str]) -> bool:
    """Return True if units of these queues are ready or claimed: they may enqueue calls soon."""
    moving = exists().where(
        UNITS.c.run_id == run_id, UNITS.c.queue.in_(queues), UNITS.c.state == READY,
        or_(UNITS.c.lease_owner.is_(None), ~AWAITING_BATCH),
    )  # fmt: skip
    with db.read() as connection:
        return bool(connection.execute(select(moving)).scalar_one())


def create_batch(
    db: Database, run_id: str, batch_id: str, endpoint_of: Callable[[Request], str], now: float,
    *, max_calls: int, max_bytes: int,
) -> Batch | None:  # fmt: skip
    """Make a new batch of enqueued calls that the run needs, the oldest first; None if there are none.

    A batch has one model and one endpoint, at most `max_calls` calls, and a file of at most `max_bytes`.
    """
    query = (
        select(GENERATIONS.c.key, GENERATIONS.c.model, GENERATIONS.c.request)
        .where(*_unbatched(run_id))
        .order_by(GENERATIONS.c.created_at, GENERATIONS.c.key)
        .limit(max_calls)
        .with_for_update(skip_locked=True, of=GENERATIONS)
        .execution_options(yield_per=PAGE)
    )
    keys: list[str] = []
    kind: tuple[str, str] | None = None
    size = 0
    with db.write() as connection:
        calls = connection.execute(query)
        for key, model, body in calls:
            size += len(json.dumps(body)) + MAX_OVERHEAD
            if keys and size > max_bytes:
                break
            kind_of_call = (model, endpoint_of(Request.from_body(body)))
            kind = kind or kind_of_call
            if kind_of_call == kind:
                keys.append(key)
        calls.close()
        if kind is None:
            return None
        connection.execute(
            insert(BATCHES).values(
                id=batch_id, run_id=run_id, state=GATHERED, endpoint=kind[1], requests=len(keys),
                answered=0, refused=0, message="", created_at=now,
            )
        )  # fmt: skip
        for page in _pages(keys):
            connection.execute(
                update(GENERATIONS).where(GENERATIONS.c.key.in_(page)).values(batch=batch_id, run_id=run_id)
            )
        return read_batch(connection, batch_id)


def batch_requests(db: Database, batch_id: str) -> Iterator[tuple[str, Request]]:
    """Yield keys and requests of a batch in the order of their keys, in bounded memory."""
    query = (
        select(GENERATIONS.c.key, GENERATIONS.c.request)
        .where(GENERATIONS.c.batch == batch_id)
        .order_by(GENERATIONS.c.key)
        .limit(PAGE)
    )
    last = ""
    while True:
        with db.read() as connection:
            page = connection.execute(query.where(GENERATIONS.c.key > last)).all()
        for key, body in page:
            yield key, Request.from_body(body)
        if len(page) < PAGE:
            return
        last = page[-1].key


def unsettled(db: Database, run_id: str) -> list[Batch]:
    """Return the run's batches that are not final, the oldest first."""
    query = (
        select(BATCHES)
        .where(BATCHES.c.run_id == run_id, BATCHES.c.state.in_(UNSETTLED))
        .order_by(BATCHES.c.created_at)
    )
    with db.read() as connection:
        return [Batch(**row) for row in connection.execute(query).mappings()]


def set_state(db: Database, batch_id: str, state: str, **columns: Any) -> Batch:
    """Set the state of a batch, and other columns of it."""
    with db.write() as connection:
        connection.execute(update(BATCHES).where(BATCHES.c.id == batch_id).values(state=state, **columns))
        return read_batch(connection, batch_id)


def adopt_orphans(db: Database, run_id: str, now: float) -> int:
    """Take over batches that the run needs and whose own run is not fed; return how many."""
    fed = exists().where(RUNS.c.id == BATCHES.c.run_id, RUNS.c.feeder_until >= now)
    needed = exists().where(
        GENERATIONS.c.batch == BATCHES.c.id, ENQUEUED,
        UNITS.c.generation == GENERATIONS.c.key, UNITS.c.run_id == run_id, AWAITING_BATCH,
    )  # fmt: skip
    orphaned = and_(BATCHES.c.run_id != run_id, BATCHES.c.state.in_(UNSETTLED), ~fed, needed)
    with db.write() as connection:
        adopted = list(
            connection.scalars(update(BATCHES).where(orphaned).values(run_id=run_id).returning(BATCHES.c.id))
        )
        if adopted:
            # The run that fetches an answer pays for it.
            connection.execute(
                update(GENERATIONS).where(GENERATIONS.c.batch.in_(adopted), ENQUEUED).values(run_id=run_id)
            )
    return len(adopted)


def _unbatched(run_id: str) -> list[Any]:
    return [ENQUEUED, GENERATIONS.c.batch.is_(None), _NEEDED.where(UNITS.c.run_id == run_id)]


def read_batch(connection: Connection, batch_id: str) -> Batch:
    return Batch(**connection.execute(select(BATCHES).where(BATCHES.c.id == batch_id)).mappings().one())


def _pages(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), PAGE):
        yield keys[start : start + PAGE]


def add_lost(db: Database, run_id: str, lost: int) -> None:
    """Charge what answers may have cost that the provider broke off."""
    with db.write() as connection:
        budget.add_unanswered(connection, run_id, 0, lost)


def store_answers(db: Database, answers: Sequence[tuple[str, Completion]], price: Price, now: float) -> None:
    """Store answers by the keys of their calls, and free the units that await them.

    A stored answer is never replaced: storing twice changes nothing.
    """
    if not answers:
        return
    with db.write() as connection:
        charged = {key: clean_completion(each) for key, each in _with_estimates(connection, answers).items()}
        rows = [_answered(key, charged[key], price) for key in sorted(charged)]
        _settle_budgets(connection, {row["call_key"]: row["cost_nano_usd"] for row in rows})
        add_batch_spending(connection, {row["call_key"]: row for row in rows})
        connection.execute(
            update(GENERATIONS)
            .where(GENERATIONS.c.key == bindparam("call_key"), GENERATIONS.c.done.is_(False))
            .values(done=True, lease_owner=None, created_at=now),
            rows,
        )
        release_awaiting(connection, [row["call_key"] for row in rows])


def _with_estimates(
    connection: Connection, answers: Sequence[tuple[str, Completion]]
) -> dict[str, Completion]:
    """Return the answers by their keys; where the provider told no usage, with an estimate of it."""
    charged = dict(answers)
    untold = [key for key, completion in charged.items() if completion.usage.estimated]
    query = select(GENERATIONS.c.key, GENERATIONS.c.request).where(
        GENERATIONS.c.key.in_(untold), GENERATIONS.c.request.is_not(None)
    )
    for key, body in connection.execute(query) if untold else ():
        charged[key] = TokenEstimate().charged(Request.from_body(body), charged[key])
    return charged


def store_refusals(db: Database, refusals: Sequence[tuple[str, BatchRefusal]], now: float) -> None:
    """Store the provider's final refusals; the units that await these calls get them when they ask again."""
    with db.write() as connection:
        _settle_budgets(connection, {key: 0 for key, _ in refusals})
        for key, refusal in sorted(refusals, key=_key):
            connection.execute(
                update(GENERATIONS)
                .where(GENERATIONS.c.key == key, ENQUEUED)
                .values(
                    lease_owner=None,
                    cost_nano_usd=0,
                    finish_reason=refusal.reason,
                    refusal=refusal.detail,
                )
            )
        release_awaiting(connection, [key for key, _ in refusals])


def unanswered(db: Database, batch_id: str) -> list[str]:
    """Return the keys of the batch's calls that have neither an answer nor a refusal."""
    query = select(GENERATIONS.c.key).where(GENERATIONS.c.batch == batch_id, ENQUEUED)
    with db.read() as connection:
        return list(connection.scalars(query))


def close_batch(db: Database, batch_id: str, state: str, message: str, now: float) -> Batch:
    """Make the batch final, and enqueue its unanswered calls for the next one."""
    of_batch = GENERATIONS.c.batch == batch_id
    refused = and_(of_batch, GENERATIONS.c.done.is_(False), GENERATIONS.c.finish_reason.is_not(None))
    with db.write() as connection:
        numbers = {
            "answered": select(func.count()).where(of_batch, GENERATIONS.c.done.is_(True)),
            "refused": select(func.count()).where(refused),
        }
        counted = {name: connection.execute(query).scalar_one() for name, query in numbers.items()}
        connection.execute(update(GENERATIONS).where(of_batch, ENQUEUED).values(batch=None))
        connection.execute(
            update(BATCHES)
            .where(BATCHES.c.id == batch_id, BATCHES.c.state.in_(UNSETTLED))
            .values(state=state, message=message, settled_at=now, **counted)
        )
        return read_batch(connection, batch_id)


def _settle_budgets(connection: Connection, costs: Mapping[str, int]) -> None:
    """Replace the reservations of calls by their costs."""
    reserved = select(GENERATIONS.c.key, GENERATIONS.c.run_id, GENERATIONS.c.cost_nano_usd).where(
        GENERATIONS.c.key.in_(list(costs)), GENERATIONS.c.done.is_(False), GENERATIONS.c.cost_nano_usd > 0
    )
    differences: defaultdict[str, int] = defaultdict(int)
    for row in connection.execute(reserved):
        differences[row.run_id] += costs[row.key] - row.cost_nano_usd
    budget.settle(connection, differences)


def _answered(key: str, completion: Completion, price: Price) -> dict[str, Any]:
    return {
        "call_key": key,
        "cost_nano_usd": cost_nano_usd(completion.usage, price),
        **answer_columns(completion),
    }


def _key(pair: tuple[str, object]) -> str:
    return pair[0]
