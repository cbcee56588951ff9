"""The feeder's queries: who feeds a run, which units to send, and what to release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from itertools import takewhile
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, case, or_, select, union_all, update

from models.core.identity import group_starts, row_identity
from models.core.pipeline.grid import prompted_cells
from models.core.pipeline.plan import rows_per_call
from models.core.pipeline.stages import round_count, round_start, units_of_round
from storage import schema
from storage.database import Database
from storage.ledger.counts import unit_counts
from storage.ledger.leases import unit_is_free
from storage.ledger.run_progress import RunProgress, read_progress
from storage.ledger.runs import Run
from storage.schema import EXAMPLES, RUNS, UNIT_COUNTS, UNITS

PAGE = 1000
# The largest number of rows in one call.
MAX_GROUP = 100


def claim_feeding(
    db: Database, run_id: str, feeder: str, now: float, lease: float, dead: str | None = None
) -> str:
    """Become or stay the one feeder of a run if it is free, and return its feeder.

    `dead` names a feeder that is known to have ended.
    """
    free = or_(
        RUNS.c.feeder.is_(None),
        RUNS.c.feeder == feeder,
        RUNS.c.feeder_until < now,
        RUNS.c.feeder == dead,
    )
    with db.write() as connection:
        connection.execute(
            update(RUNS).where(RUNS.c.id == run_id, free).values(feeder=feeder, feeder_until=now + lease)
        )
        return connection.execute(select(RUNS.c.feeder).where(RUNS.c.id == run_id)).scalar_one() or ""


def current_feeder(db: Database, run_id: str, now: float) -> str:
    """Return the live feeder of a run, or an empty string."""
    query = select(RUNS.c.feeder).where(RUNS.c.id == run_id, RUNS.c.feeder_until >= now)
    with db.read() as connection:
        return connection.execute(query).scalar() or ""


def stop_feeding(db: Database, run_id: str, feeder: str) -> None:
    """Stop feeding a run; another feeder can begin at once."""
    with db.write() as connection:
        connection.execute(
            update(RUNS)
            .where(RUNS.c.id == run_id, RUNS.c.feeder == feeder)
            .values(feeder=None, feeder_until=None)
        )


def group_start_units(db: Database, run: Run) -> frozenset[int]:
    """Return the units that begin a call for several rows; none if each row has its own call, or if rows are
    their numbers."""
    if run.experiment.identity == "row":
        return frozenset()
    starts: set[int] = set()
    for stage, size in rows_per_call(run.experiment).items():
        query = (
            select(UNITS.c.id, EXAMPLES.c.request, EXAMPLES.c.reference, EXAMPLES.c.columns)
            .join(EXAMPLES, EXAMPLES.c.id == UNITS.c.example_id)
            .where(UNITS.c.run_id == run.id, UNITS.c.stage == stage)
        )
        for split in (schema.TRAIN, schema.TEST):
            of_split = query.where(UNITS.c.split == split).order_by(UNITS.c.id)
            with db.read() as connection:
                rows = connection.execution_options(yield_per=PAGE).execute(of_split)
                named = (
                    (row.id, row_identity(row.request, row.reference, columns=row.columns)) for row in rows
                )
                starts |= group_starts(named, size)
    return frozenset(starts)


def rename_queues(db: Database, run: Run) -> None:
    """Move the open units of a run that was planned when queues had the names of roles."""
    experiment = run.experiment
    renamed = {f"student.{student.name}": student.queue for student in experiment.students}
    if experiment.teacher:
        renamed[f"teacher.{experiment.teacher.name}"] = experiment.teacher.queue
    of_run = UNITS.c.run_id == run.id
    # Every example has the same steps, so the first one tells.
    of_first = select(UNITS.c.queue).where(of_run).order_by(UNITS.c.example_id).limit(PAGE)
    with db.read() as connection:
        if renamed.keys().isdisjoint(connection.scalars(of_first)):
            return
    with db.write() as connection:
        for before, queue in renamed.items():
            named = and_(of_run, UNITS.c.queue == before, UNITS.c.state.in_(schema.OPEN))
            connection.execute(update(UNITS).where(named).values(queue=queue))


class QueueRoom(NamedTuple):
    """The number of units that a queue takes, of those without a message of the last `patience` seconds."""

    units: int
    patience: float


class SendableUnit(NamedTuple):
    """A unit to send. `kind` names its task, `row` the split and number of its row, such as `test/12`."""

    unit_id: int
    stage: str
    kind: str
    row: str


def take_sendable(
    db: Database,
    run_id: str,
    rooms: Mapping[str, QueueRoom],
    now: float,
    starts: Set[int] = frozenset(),
    grouped: Collection[str] = (),
) -> dict[str, list[SendableUnit]]:
    """Return ready units to send by queue, as many as there is room for, and those that complete the last
    group of rows that share a call; `starts` begin groups.

    They have neither a live owner nor a recent message. They are marked as sent before they are sent: a crash
    in between delays them by the patience of their queue.
    """
    if not rooms:
        return {}
    more = MAX_GROUP * bool(starts)
    queries = [
        _sendable(run_id, queue, room.units + more, now, room.patience) for queue, room in rooms.items()
    ]
    by_queue: dict[str, list[Any]] = {queue: [] for queue in rooms}
    with db.read() as connection:
        for unit in connection.execute(union_all(*(select(query.subquery()) for query in queries))):
            by_queue[unit.queue].append(unit)
    taken = {
        queue: _whole_groups(sorted(units), rooms[queue].units, starts, grouped)
        for queue, units in by_queue.items()
    }
    unit_ids = [unit.id for units in taken.values() for unit in units]
    if unit_ids:
        with db.write() as connection:
            connection.execute(update(UNITS).where(UNITS.c.id.in_(unit_ids)).values(sent_at=now))
    return {
        queue: [
            SendableUnit(unit.id, unit.stage, unit.kind or unit.stage, f"{unit.split}/{unit.row}")
            for unit in units
        ]
        for queue, units in taken.items()
    }


def _whole_groups(units: Sequence[Any], limit: int, starts: Set[int], grouped: Collection[str]) -> list[Any]:
    last = units[limit - 1].stage if len(units) > limit else ""
    more = (unit for unit in units[limit:] if unit.stage == last and last in grouped)
    return [*units[:limit], *takewhile(lambda unit: unit.id not in starts, more)]


def open_barrier(db: Database, run: Run, progress: RunProgress | None = None) -> bool:
    """Release the units that wait for exemplars once every train unit is final; True if this call did it."""
    progress = progress or read_progress(db, run.id)
    if progress.barrier_open or progress.has_open(schema.TRAIN):
        return False
    behind = [cell.name for cell in prompted_cells(run.experiment) if cell.shots]
    met = and_(UNITS.c.state == schema.WAITING, UNITS.c.needs <= 1)
    with db.write() as connection:
        opened = connection.execute(
            update(RUNS).where(RUNS.c.id == run.id, RUNS.c.barrier_open.is_(False)).values(barrier_open=True)
        ).rowcount
        if opened and behind:
            connection.execute(
                update(UNITS)
                .where(
                    UNITS.c.run_id == run.id,
                    UNITS.c.split == schema.TEST,
                    UNITS.c.state.in_((schema.WAITING, schema.SKIPPED)),
                    UNITS.c.stage == "answer",
                    UNITS.c.variant.in_(behind),
                )
                .values(needs=UNITS.c.needs - 1, state=case((met, schema.READY), else_=UNITS.c.state))
            )
    return bool(opened)


def open_rounds(db: Database, run: Run, progress: RunProgress | None = None) -> int:
    """Release the units of each round whose predecessor is final, and return how many.

    Calling it again is harmless: a unit that waits only for its round has one need left.
    """
    if round_count(run.experiment) == 1:
        return 0
    freed = 0
    progress = progress or read_progress(db, run.id)
    for number in range(2, round_count(run.experiment) + 1):
        if progress.has_open(schema.TRAIN, units_of_round(run.experiment, number - 1)):
            break
        stage, variant = round_start(run.experiment, number)
        if not progress.units.get((schema.TRAIN, stage, variant), Counter())[schema.WAITING]:
            continue
        waiting = (
            UNITS.c.run_id == run.id,
            UNITS.c.split == schema.TRAIN,
            UNITS.c.state == schema.WAITING,
            UNITS.c.stage == stage,
            UNITS.c.variant == variant,
            UNITS.c.needs <= 1,
        )
        with db.write() as connection:
            release = update(UNITS).where(*waiting).values(needs=0, state=schema.READY)
            freed += connection.execute(release).rowcount
    return freed


def finish_run(db: Database, run_id: str, now: float) -> bool:
    """Mark the run as finished if every unit is final; return True if so."""
    with db.read() as connection:
        if _has_open(connection, run_id):
            return False
    with db.write() as connection:
        # Checked again under the lock that a retry takes too, since a retry makes units ready.
        connection.execute(select(RUNS.c.id).where(RUNS.c.id == run_id).with_for_update())
        if _has_open(connection, run_id):
            return False
        connection.execute(
            update(RUNS)
            .where(RUNS.c.id == run_id, RUNS.c.state == schema.RUNNING)
            .values(state=schema.FINISHED, finished_at=now, message="")
        )
    return True


def _sendable(run_id: str, queue: str, limit: int, now: float, patience: float) -> Select[Any]:
    columns = (UNITS.c.id, UNITS.c.queue, UNITS.c.stage, UNITS.c.kind, UNITS.c.split, EXAMPLES.c.row)
    return (
        select(*columns)
        .join(EXAMPLES, EXAMPLES.c.id == UNITS.c.example_id)
        .where(
            UNITS.c.run_id == run_id,
            UNITS.c.queue == queue,
            UNITS.c.state == schema.READY,
            unit_is_free(now),
            or_(UNITS.c.sent_at.is_(None), UNITS.c.sent_at < now - patience),
        )
        .order_by(UNITS.c.id)
        .limit(limit)
    )


def _has_open(connection: Connection, run_id: str) -> bool:
    open_units = unit_counts(run_id).where(UNIT_COUNTS.c.state.in_(schema.OPEN))
    return connection.execute(open_units.limit(1)).first() is not None


def unclaimed_units(db: Database, unit_ids: Sequence[int], now: float) -> set[int]:
    """Return the units that no worker has claimed."""
    query = select(UNITS.c.id).where(
        UNITS.c.id.in_(unit_ids),
        UNITS.c.state == schema.READY,
        unit_is_free(now),
    )
    with db.read() as connection:
        return set(connection.scalars(query))
