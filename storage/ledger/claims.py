"""A worker claims units by one conditional UPDATE, and holds them while its lease is live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, select, update

from models.core.experiment.experiment import Experiment
from models.core.kinds import KINDS
from models.core.pipeline.graph import Step, downstream, votes_without
from models.core.pipeline.plan import planned_slots
from models.core.pipeline.stages import STAGE_INPUTS
from models.core.types import AnswerTests, Example
from storage.database import Database
from storage.ledger.dependants import DependantKey, SkippedUnit, release_dependants, skip_dependants
from storage.ledger.leases import unit_is_free
from storage.schema import DONE, EXAMPLES, FAILED, READY, RUNNING, RUNS, UNITS, UPSTREAM_FAILED

# A unit that was claimed more often and never finished kills its workers.
MAX_CLAIMS = 20


@dataclass(frozen=True, slots=True)
class ClaimedUnit:
    """A unit that `owner` has claimed, with its inputs, which are the results of the example's earlier steps.

    `rejections` answers were not accepted so far; a retry forgives those before `budget_from`.
    `generation` is the call of a batch that the unit waited for.
    """

    unit_id: int
    owner: str
    run_id: str
    example_id: int
    split: str
    stage: str
    variant: str
    sample: int
    rejections: int
    budget_from: int
    example: Example
    inputs: dict[Step, dict[str, Any]]
    generation: str | None = None
    kind: str | None = None

    @property
    def step(self) -> Step:
        return (self.stage, self.variant, self.sample)


_CLAIMABLE = (
    UNITS.c.id.in_(bindparam("unit_ids", expanding=True)),
    UNITS.c.state == READY,
    UNITS.c.run_id.in_(select(RUNS.c.id).where(RUNS.c.state == RUNNING)),
)
_ABANDONED = and_(UNITS.c.lease_owner.is_not(None), unit_is_free(bindparam("now")))
_LOCK_ABANDONED = select(UNITS.c.id).where(*_CLAIMABLE, _ABANDONED).with_for_update(skip_locked=True)
_CLAIM = (
    update(UNITS)
    .where(*_CLAIMABLE)
    .values(lease_owner=bindparam("new_owner"), attempts=UNITS.c.attempts + 1)
    .returning(
        UNITS.c.id, UNITS.c.lease_owner, UNITS.c.run_id, UNITS.c.example_id, UNITS.c.split, UNITS.c.stage,
        UNITS.c.variant, UNITS.c.sample, UNITS.c.attempts, UNITS.c.rejections, UNITS.c.budget_from,
        UNITS.c.generation, UNITS.c.kind,
    )
)  # fmt: skip
_CLAIM_UNOWNED = _CLAIM.where(UNITS.c.lease_owner.is_(None))
_CLAIM_ABANDONED = _CLAIM.where(_ABANDONED)
_READY = select(UNITS).where(UNITS.c.id == bindparam("unit_id"), UNITS.c.state == READY).with_for_update()
_EXAMPLES = select(EXAMPLES).where(EXAMPLES.c.id.in_(bindparam("example_ids", expanding=True)))
_RESULTS = select(
    UNITS.c.run_id, UNITS.c.example_id, UNITS.c.stage, UNITS.c.variant, UNITS.c.sample, UNITS.c.result
).where(
    UNITS.c.run_id.in_(bindparam("run_ids", expanding=True)),
    UNITS.c.example_id.in_(bindparam("example_ids", expanding=True)),
    UNITS.c.state == DONE,
)
_RESULTS_OF_SAMPLES = _RESULTS.where(UNITS.c.sample.in_(bindparam("samples", expanding=True)))
_RESULTS_OF_STAGES = _RESULTS.where(UNITS.c.stage.in_(bindparam("stages", expanding=True)))


def claim_units(
    db: Database, owner: str, unit_ids: Sequence[int], now: float, *, take_over: bool = True
) -> list[ClaimedUnit]:
    """Claim for `owner`, whose lease is live, and return those units that are ready, free, and of a running
    run. `now` is in seconds since the epoch. Without `take_over` leave those whose owner's lease has ended:
    right after an outage of the database that may be anybody's."""
    with db.write() as connection:
        units = list(connection.execute(_CLAIM_UNOWNED, {"unit_ids": list(unit_ids), "new_owner": owner}))
        owned = set(unit_ids).difference(unit.id for unit in units)
        if owned and take_over:
            units += _take_over(connection, owner, sorted(owned), now)
        for unit in units:
            if unit.attempts > MAX_CLAIMS:
                detail = f"claimed {MAX_CLAIMS} times and never finished"
                _fail_unclaimed(connection, unit, "crash", detail, now)
        sound = (unit for unit in units if unit.attempts <= MAX_CLAIMS)
        return _with_inputs(connection, sorted(sound, key=lambda unit: unit.id))


def _take_over(connection: Connection, owner: str, unit_ids: Sequence[int], now: float) -> Sequence[Any]:
    """Claim units whose owner's lease has ended.

    They are locked first: a statement that had waited for a lock might not see the lease under which another
    worker has claimed the unit meanwhile.
    """
    abandoned = list(connection.scalars(_LOCK_ABANDONED, {"unit_ids": unit_ids, "now": now}))
    if not abandoned:
        return ()
    values = {"unit_ids": abandoned, "now": now, "new_owner": owner}
    return connection.execute(_CLAIM_ABANDONED, values).all()


def fail_unreadable_unit(db: Database, unit_id: int, reason: str, detail: str, now: float) -> None:
    """Fail a unit that is ready and whose inputs cannot be read, so that nobody tries for ever."""
    with db.write() as connection:
        unit = connection.execute(_READY, {"unit_id": unit_id}).one_or_none()
        if unit:
            _fail_unclaimed(connection, unit, reason, detail, now)


def release_units(db: Database, owner: str, unit_ids: Sequence[int]) -> None:
    """Give units back unfinished. They can be sent again at once, and the claim does not count."""
    with db.write() as connection:
        connection.execute(
            update(UNITS)
            .where(UNITS.c.id.in_(unit_ids), UNITS.c.lease_owner == owner, UNITS.c.state == READY)
            .values(lease_owner=None, sent_at=None, attempts=UNITS.c.attempts - 1)
        )


def owned_units(db: Database, owner: str) -> list[int]:
    """Return the units that the owner has claimed and neither ended nor given back."""
    query = select(UNITS.c.id).where(UNITS.c.lease_owner == owner).order_by(UNITS.c.id)
    with db.read() as connection:
        return list(connection.scalars(query))


def release_lost(db: Database, owner: str, unit_ids: Sequence[int]) -> None:
    """Free units that their owner has lost from hand. The claim counts: it might happen again and again."""
    with db.write() as connection:
        connection.execute(
            update(UNITS)
            .where(UNITS.c.id.in_(unit_ids), UNITS.c.lease_owner == owner)
            .values(lease_owner=None, sent_at=None)
        )


def _fail_unclaimed(connection: Connection, unit: Any, reason: str, detail: str, now: float) -> None:
    """Fail a unit that no worker can execute and skip its dependants; a vote goes on without it."""
    connection.execute(
        update(UNITS)
        .where(UNITS.c.id == unit.id)
        .values(state=FAILED, reason=reason, detail=detail, finished_at=now, lease_owner=None)
    )
    config = connection.execute(select(RUNS.c.config).where(RUNS.c.id == unit.run_id)).scalar_one()
    slots = planned_slots(Experiment.model_validate(config))[unit.split]
    step = (unit.stage, unit.variant, unit.sample)

    lost = downstream(slots, step)
    votes = votes_without(slots, [step, *lost])

    def key(step: Step) -> DependantKey:
        return DependantKey(unit.run_id, unit.example_id, step)

    release_dependants(connection, map(key, votes.get(step, ())))
    skips = (SkippedUnit(key(each), UPSTREAM_FAILED, votes.get(each, ())) for each in lost)
    skip_dependants(connection, skips, now)


def _example(row: Any) -> Example:
    tests = AnswerTests(**row.tests) if row.tests else None
    return Example(
        row.row, row.question_id, row.request, row.reference, tuple(row.oracle), tests,
        columns=row.columns or {},
    )  # fmt: skip


def _by_inputs(units: Sequence[Any]) -> Iterator[tuple[Select[Any], list[Any]]]:
    """Yield the query of inputs for each way in which units read results: a vote reads all samples, another
    step those of its own number, or the only ones."""
    steps = [unit for unit in units if unit.kind]
    yield _RESULTS, [unit for unit in steps if KINDS[unit.kind].gathers]
    yield _RESULTS_OF_SAMPLES, [unit for unit in steps if not KINDS[unit.kind].gathers]
    yield _RESULTS_OF_STAGES, [unit for unit in units if not unit.kind]


def _with_inputs(connection: Connection, units: Sequence[Any]) -> list[ClaimedUnit]:
    if not units:
        return []
    example_ids = {unit.example_id for unit in units}
    examples = {
        row.id: _example(row) for row in connection.execute(_EXAMPLES, {"example_ids": sorted(example_ids)})
    }
    results: dict[tuple[str, int], dict[Step, dict[str, Any]]] = {}
    for query, asking in _by_inputs(units):
        wanted: dict[str, Any] = {
            "run_ids": sorted({unit.run_id for unit in asking}),
            "example_ids": sorted({unit.example_id for unit in asking}),
        }
        if query is _RESULTS_OF_STAGES:
            wanted["stages"] = sorted({stage for unit in asking for stage in STAGE_INPUTS[unit.stage]})
        elif query is _RESULTS_OF_SAMPLES:
            wanted["samples"] = sorted({0, *(unit.sample for unit in asking)})
        if not all(wanted.values()):
            continue
        for row in connection.execute(query, wanted):
            of_example = results.setdefault((row.run_id, row.example_id), {})
            of_example[(row.stage, row.variant, row.sample)] = row.result
    return [
        ClaimedUnit(
            unit.id, unit.lease_owner, unit.run_id, unit.example_id, unit.split, unit.stage, unit.variant,
            unit.sample, unit.rejections, unit.budget_from, examples[unit.example_id],
            results.get((unit.run_id, unit.example_id), {}), unit.generation, unit.kind,
        )
        for unit in units
    ]  # fmt: skip
