"""Units that failed and whose rows went on without them: they are done with a stand-in, and have a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, null, select, update

from models.core.pipeline.graph import Slot, Step
from models.core.pipeline.stages import BARRIER
from storage.database import Database
from storage.ledger.runs import Run
from storage.schema import DONE, FAILED, READY, RUNS, SKIPPED, UNITS, UPSTREAM_FAILED, WAITING

PAGE = 500
# The states of a unit on which another still waits: a retry of a failed one relies on that count.
LACKING = (WAITING, READY, FAILED)
_REOPEN = (
    update(UNITS)
    .where(UNITS.c.id == bindparam("of_unit"))
    .values(
        state=bindparam("new_state"), needs=bindparam("new_needs"), reason=null(), detail=null(),
        result=null(), generation=null(), finished_at=null(), sent_at=null(), lease_owner=null(),
        attempts=0, budget_from=UNITS.c.rejections,
    )
)  # fmt: skip
_NEEDS = update(UNITS).where(UNITS.c.id == bindparam("of_unit")).values(needs=bindparam("new_needs"))


def is_stand_in(run_id: str) -> ColumnElement[bool]:
    """Return the condition that the index `unit_stand_in` serves."""
    return and_(UNITS.c.run_id == run_id, UNITS.c.state == DONE, UNITS.c.reason.is_not(None))


def stand_in_reasons(db: Database, run_id: str) -> dict[str, dict[str, int]]:
    """Count stand-ins by stage and by the reason of the failure, the most frequent first."""
    columns = (UNITS.c.stage, UNITS.c.reason)
    query = select(*columns, func.count().label("number")).where(is_stand_in(run_id)).group_by(*columns)
    counted: dict[str, Counter[str]] = {}
    with db.read() as connection:
        for stage, reason, number in connection.execute(query):
            counted.setdefault(stage, Counter())[reason] = int(number)
    return {stage: dict(reasons.most_common()) for stage, reasons in sorted(counted.items())}


def reopen_stand_ins(connection: Connection, run: Run, reason: str | None, stage: str | None) -> int:
    """Try again what ended with a stand-in, those of a `reason` or a `stage`, and return how many are ready.

    All units that rest on them wait again. Their answers stay in the ledger: where the stand-in stays, none
    is paid again.
    """
    meant = is_stand_in(run.id)
    meant = and_(meant, UNITS.c.reason == reason) if reason else meant
    meant = and_(meant, UNITS.c.stage == stage) if stage else meant
    wanted = set(connection.scalars(select(UNITS.c.id).where(meant)))
    query = select(UNITS.c.example_id).where(meant).distinct().order_by(UNITS.c.example_id)
    examples = list(connection.scalars(query)) if wanted else []
    is_open = select(RUNS.c.barrier_open).where(RUNS.c.id == run.id)
    opened = {BARRIER} if examples and connection.execute(is_open).scalar_one() else set()
    for start in range(0, len(examples), PAGE):
        of_page = (UNITS.c.run_id == run.id, UNITS.c.example_id.in_(examples[start : start + PAGE]))
        rows = connection.execute(select(UNITS).where(*of_page).order_by(UNITS.c.id).with_for_update()).all()
        for _, units in groupby(rows, key=lambda unit: unit.example_id):
            _reopen_row(connection, run, list(units), wanted, opened)
    return len(wanted)


def _reopen_row(
    connection: Connection, run: Run, units: Sequence[Any], wanted: set[int], opened: set[Step]
) -> None:
    """Reopen the `wanted` units of a row, and what rests on them; `opened` barriers hold nobody back."""
    by_step = {(unit.stage, unit.variant, unit.sample): unit for unit in units}
    states = {step: unit.state for step, unit in by_step.items()} | dict.fromkeys(opened, DONE)
    lost = {step for step, unit in by_step.items() if unit.reason == UPSTREAM_FAILED}
    reopened: set[Step] = set()
    changes, counts = [], []
    for slot in run.slots[units[0].split]:  # in the order of stages
        unit = by_step.get(slot.step)
        if unit is None or (unit.id not in wanted and reopened.isdisjoint(slot.after)):
            continue
        needs = sum(states.get(step, WAITING) in LACKING or step in lost for step in slot.after)
        change = {"of_unit": unit.id, "new_needs": needs}
        if unit.id not in wanted and _stays_lost(slot, states, lost):
            counts.append(change)
            continue
        reopened.add(slot.step)
        lost.discard(slot.step)
        states[slot.step] = WAITING if needs else READY
        changes.append({**change, "new_state": states[slot.step]})
    if changes:
        connection.execute(_REOPEN, changes)
    if counts:
        connection.execute(_NEEDS, counts)


def _stays_lost(slot: Slot, states: dict[Step, str], lost: set[Step]) -> bool:
    """Tell if another failure keeps the unit from happening."""
    missing = [states.get(step) == FAILED or (states.get(step) == SKIPPED and step in lost)
               for step in slot.after]  # fmt: skip
    return bool(missing) and (all(missing) if slot.gathers else any(missing))
