"""The state of a run and of its units, in one query: its feeder decides by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from models.core.pipeline.stages import Stage
from storage.database import Database
from storage.schema import READY, RUNS, UNIT_COUNTS, WAITING


@dataclass(frozen=True, slots=True)
class RunProgress:
    """All that a feeder has to know of a run at a time: its state, its units by (split, stage, variant) and
    state, and how many differences their counts are the sum of."""

    state: str
    barrier_open: bool
    units: Mapping[tuple[str, str, str], Counter[str]]
    differences: int

    def has_open(
        self, split: str | None = None, variants: Mapping[Stage, Sequence[str]] | None = None
    ) -> bool:
        """Return whether a unit is not final, of those of a split, and of these variants by stage."""
        chosen = None
        if variants is not None:
            chosen = {(stage, name) for stage, names in variants.items() for name in names}
        return any(
            states[WAITING] or states[READY]
            for (of_split, stage, variant), states in self.units.items()
            if split in (None, of_split) and (chosen is None or (stage, variant) in chosen)
        )


def read_progress(db: Database, run_id: str) -> RunProgress:
    counted = UNIT_COUNTS.c
    cell = (counted.split, counted.stage, counted.variant, counted.state)
    query = (
        select(RUNS.c.state, RUNS.c.barrier_open, *cell, func.sum(counted.number), func.count(counted.id))
        .outerjoin(UNIT_COUNTS, counted.run_id == RUNS.c.id)
        .where(RUNS.c.id == run_id)
        .group_by(RUNS.c.state, RUNS.c.barrier_open, *cell)
    )
    with db.read() as connection:
        rows = connection.execute(query).all()
    units: dict[tuple[str, str, str], Counter[str]] = {}
    for _, _, split, stage, variant, state, number, _ in rows:
        if state:
            units.setdefault((split, stage, variant), Counter())[state] = int(number)
    return RunProgress(rows[0][0], rows[0][1], units, sum(row[-1] for row in rows))
