"""Retry failed units of a pipeline of steps: what was skipped for them, and votes that failed, wait again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, bindparam, null, select, update

from models.core.pipeline.graph import Slot, Step
from storage.ledger.runs import Run
from storage.schema import FAILED, NO_SAMPLES, READY, SKIPPED, TRAIN, UNITS, UPSTREAM_FAILED, WAITING

PAGE = 500
# The state of a unit that was skipped because another failed.
LOST = "lost"
_REOPEN = (
    update(UNITS)
    .where(UNITS.c.id == bindparam("of_unit"))
    .values(
        state=bindparam("new_state"), needs=bindparam("new_needs"), reason=null(), detail=null(),
        finished_at=null(), sent_at=null(), attempts=0, budget_from=UNITS.c.rejections,
    )
)  # fmt: skip


def reopen_units(connection: Connection, run: Run, reason: str | None, stage: str | None) -> int:
    """Reopen failed units, or those that failed for `reason` or at `stage`, and return how many are ready.

    A unit whose value nothing would read any more, because the others were voted on, stays failed.
    """
    failed = select(UNITS.c.example_id).where(UNITS.c.run_id == run.id, UNITS.c.state == FAILED)
    failed = failed.where(UNITS.c.reason == reason) if reason else failed
    failed = failed.where(UNITS.c.stage == stage) if stage else failed
    examples = list(connection.scalars(failed.distinct().order_by(UNITS.c.example_id)))
    slots = run.slots[TRAIN]
    ready = 0
    for start in range(0, len(examples), PAGE):
        of_page = (UNITS.c.run_id == run.id, UNITS.c.example_id.in_(examples[start : start + PAGE]))
        rows = connection.execute(select(UNITS).where(*of_page).order_by(UNITS.c.id).with_for_update()).all()
        changes: list[dict[str, Any]] = []
        for _, units in groupby(rows, key=lambda unit: unit.example_id):
            row = _Row(slots, {(unit.stage, unit.variant, unit.sample): unit for unit in units})
            changes += row.reopen(row.wanted(reason, stage))
        if changes:
            connection.execute(_REOPEN, changes)
        ready += sum(change["new_state"] == READY for change in changes)
    return ready


class _Row:
    """The units of one row of the data."""

    def __init__(self, slots: Iterable[Slot], units: Mapping[Step, Any]) -> None:
        self.slots = {slot.step: slot for slot in slots}
        self.units = units
        self.readers: dict[Step, list[Step]] = {step: [] for step in self.slots}
        for slot in self.slots.values():
            for step in slot.after:
                self.readers[step].append(slot.step)

    def wanted(self, reason: str | None, stage: str | None) -> set[Step]:
        """Return the failed units that are meant; for a vote without samples also those of its samples."""
        meant = {
            step
            for step, unit in self.units.items()
            if unit.state == FAILED and reason in (None, unit.reason) and stage in (None, unit.stage)
        }
        for vote in [step for step in meant if self.units[step].reason == NO_SAMPLES]:
            meant |= {step for step in self._before(vote) if self.units[step].state == FAILED}
        return {step for step in meant if self._counts(step)}

    def reopen(self, wanted: set[Step]) -> list[dict[str, Any]]:
        """Return the new state and needs of each unit that changes."""
        states = {step: self._state(step) for step in self.slots}
        opened = set(wanted)
        changes = []
        for step, slot in self.slots.items():  # in the order of steps
            before = [states[each] for each in slot.after]
            lost = [state in (FAILED, LOST) for state in before]
            can = not all(lost) if slot.gathers else not any(lost)
            if step in wanted or (can and self._waits_again(step, opened)):
                opened.add(step)
                needs = sum(state in (WAITING, READY) for state in before)
                states[step] = WAITING if needs else READY
                changes.append(
                    {"of_unit": self.units[step].id, "new_state": states[step], "new_needs": needs}
                )
        return changes

    def _waits_again(self, step: Step, opened: set[Step]) -> bool:
        """Tell if a unit that rests on reopened ones is to be reopened, too."""
        state = self._state(step)
        is_open_vote = self.slots[step].gathers and state in (FAILED, WAITING)
        return (state == LOST or is_open_vote) and not opened.isdisjoint(self.slots[step].after)

    def _state(self, step: Step) -> str:
        unit = self.units[step]
        return LOST if unit.state == SKIPPED and unit.reason == UPSTREAM_FAILED else str(unit.state)

    def _counts(self, step: Step) -> bool:
        """Tell if the value of a unit would be read, or is what its row ends with."""
        readers = self.readers[step]
        return not readers or any(
            self._state(reader) in (WAITING, FAILED, LOST)
            if self.slots[reader].gathers
            else self._counts(reader)
            for reader in readers
        )

    def _before(self, step: Step) -> set[Step]:
        before = set(self.slots[step].after)
        return before.union(*(self._before(each) for each in before))
