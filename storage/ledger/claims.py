"""A worker owns a unit by a lease: one conditional UPDATE takes it, a heartbeat extends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select, update

from models.core.experiment.experiment import Experiment
from models.core.pipeline.stages import Step, downstream, gathering_dependants
from models.core.types import AnswerTests, Example
from storage.database import Database
from storage.ledger.dependants import DependantKey, release_dependants, skip_dependants
from storage.ledger.runs import planned_slots
from storage.schema import DONE, EXAMPLES, FAILED, GENERATIONS, READY, RUNNING, RUNS, UNITS, UPSTREAM_FAILED

# A unit that was claimed more often and never finished kills its workers.
MAX_CLAIMS = 20
MAX_IDS = 10_000  # in one statement

INPUTS: dict[str, tuple[str, ...]] = {
    "grow": (),
    "augment": (),
    "retrieve": ("augment",),
    "rationale": ("augment", "retrieve"),
    "rationalize": ("augment", "retrieve"),
    "answer": ("augment", "retrieve"),
    "judge": ("answer",),
}


@dataclass(frozen=True, slots=True)
class ClaimedUnit:
    """A claimed unit with its inputs, which are the results of the example's earlier steps.

    `rejections` answers were not accepted so far; a retry forgives those before `budget_from`.
    `generation` is the call of a batch that the unit waited for.
    """

    unit_id: int
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

    @property
    def step(self) -> Step:
        return (self.stage, self.variant, self.sample)


_CLAIM = (
    update(UNITS)
    .where(
        UNITS.c.id.in_(bindparam("unit_ids", expanding=True)),
        UNITS.c.state == READY,
        or_(UNITS.c.lease_until.is_(None), UNITS.c.lease_until < bindparam("now")),
        UNITS.c.run_id.in_(select(RUNS.c.id).where(RUNS.c.state == RUNNING)),
    )
    .values(lease_owner=bindparam("owner"), lease_until=bindparam("until"), attempts=UNITS.c.attempts + 1)
    .returning(
        UNITS.c.id, UNITS.c.run_id, UNITS.c.example_id, UNITS.c.split, UNITS.c.stage, UNITS.c.variant,
        UNITS.c.sample, UNITS.c.attempts, UNITS.c.rejections, UNITS.c.budget_from, UNITS.c.generation,
    )
)  # fmt: skip
_READY = select(UNITS).where(UNITS.c.id == bindparam("unit_id"), UNITS.c.state == READY).with_for_update()
_EXAMPLES = select(EXAMPLES).where(EXAMPLES.c.id.in_(bindparam("example_ids", expanding=True)))
_RESULTS = select(
    UNITS.c.run_id, UNITS.c.example_id, UNITS.c.stage, UNITS.c.variant, UNITS.c.sample, UNITS.c.result
).where(
    UNITS.c.run_id.in_(bindparam("run_ids", expanding=True)),
    UNITS.c.example_id.in_(bindparam("example_ids", expanding=True)),
    UNITS.c.stage.in_(bindparam("stages", expanding=True)),
    UNITS.c.state == DONE,
)


def claim_units(
    db: Database, owner: str, unit_ids: Sequence[int], now: float, lease: float
) -> list[ClaimedUnit]:
    """Claim for `owner` and return those units that are ready, without a live lease, and of a running run.

    `now` is in seconds since the epoch, `lease` in seconds.
    """
    with db.write() as connection:
        values = {"unit_ids": list(unit_ids), "now": now, "owner": owner, "until": now + lease}
        units = connection.execute(_CLAIM, values).all()
        for unit in units:
            if unit.attempts > MAX_CLAIMS:
                detail = f"claimed {MAX_CLAIMS} times and never finished"
                _fail_unclaimed(connection, unit, "crash", detail, now)
        sound = (unit for unit in units if unit.attempts <= MAX_CLAIMS)
        return _with_inputs(connection, sorted(sound, key=lambda unit: unit.id))


def extend_leases(db: Database, owner: str, unit_ids: Sequence[int], now: float, lease: float) -> None:
    """Extend the leases of those of the units that are `owner`'s, and of the model calls that they wait for.

    Others of the same owner expire: it lost them from hand, and nobody would end them. A call that was
    reserved and not bought is free one lease after its unit has ended.
    """
    with db.write() as connection:
        for start in range(0, len(unit_ids), MAX_IDS):
            _extend_leases(connection, owner, unit_ids[start : start + MAX_IDS], now + lease)


def _extend_leases(connection: Connection, owner: str, unit_ids: Sequence[int], until: float) -> None:
    units = select(UNITS.c.id).where(UNITS.c.id.in_(unit_ids), UNITS.c.lease_owner == owner)
    calls = select(GENERATIONS.c.key).where(
        GENERATIONS.c.lease_owner == owner, GENERATIONS.c.unit_id.in_(units)
    )
    # Rows that another transaction has locked are about to end. Waiting for them could deadlock.
    for column, held in ((UNITS.c.id, units), (GENERATIONS.c.key, calls)):
        connection.execute(
            update(column.table)
            .where(column.in_(held.with_for_update(skip_locked=True)))
            .values(lease_until=until)
        )


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
            .values(lease_owner=None, lease_until=None, sent_at=None, attempts=UNITS.c.attempts - 1)
        )


def _fail_unclaimed(connection: Connection, unit: Any, reason: str, detail: str, now: float) -> None:
    """Fail a unit that no worker can execute and skip its dependants; a vote goes on without it."""
    connection.execute(
        update(UNITS)
        .where(UNITS.c.id == unit.id)
        .values(
            state=FAILED, reason=reason, detail=detail, finished_at=now, lease_owner=None, lease_until=None,
        )
    )  # fmt: skip
    config = connection.execute(select(RUNS.c.config).where(RUNS.c.id == unit.run_id)).scalar_one()
    slots = planned_slots(Experiment.model_validate(config))[unit.split]
    step = (unit.stage, unit.variant, unit.sample)

    def keys(steps: Sequence[Step]) -> list[DependantKey]:
        return [DependantKey(unit.run_id, unit.example_id, each) for each in steps]

    release_dependants(connection, keys(gathering_dependants(slots, step)))
    skip_dependants(connection, ((key, UPSTREAM_FAILED) for key in keys(downstream(slots, step))), now)


def _tests(stored: dict[str, str] | None) -> AnswerTests | None:
    return AnswerTests(**stored) if stored else None


def _with_inputs(connection: Connection, units: Sequence[Any]) -> list[ClaimedUnit]:
    if not units:
        return []
    example_ids = {unit.example_id for unit in units}
    examples = {
        row.id: Example(
            row.row, row.question_id, row.request, row.reference, tuple(row.oracle), _tests(row.tests)
        )
        for row in connection.execute(_EXAMPLES, {"example_ids": sorted(example_ids)})
    }
    stages = {stage for unit in units for stage in INPUTS[unit.stage]}
    results: dict[tuple[str, int], dict[Step, dict[str, Any]]] = {}
    if stages:
        wanted = {
            "run_ids": sorted({unit.run_id for unit in units}),
            "example_ids": sorted(example_ids),
            "stages": sorted(stages),
        }
        for row in connection.execute(_RESULTS, wanted):
            of_example = results.setdefault((row.run_id, row.example_id), {})
            of_example[(row.stage, row.variant, row.sample)] = row.result
    return [
        ClaimedUnit(
            unit.id, unit.run_id, unit.example_id, unit.split, unit.stage, unit.variant, unit.sample,
            unit.rejections, unit.budget_from, examples[unit.example_id],
            results.get((unit.run_id, unit.example_id), {}), unit.generation,
        )
        for unit in units
    ]  # fmt: skip
