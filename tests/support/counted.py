"""The counts that a ledger keeps, beside a full count."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Integer, cast, func, select

from storage.database import Database
from storage.schema import GENERATIONS, RUNS, SPENDING, UNIT_COUNTS, UNITS

CELL = ("run_id", "split", "stage", "variant", "state")
SUMS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "cost_nano_usd")


def assert_counts_hold(db: Database) -> None:
    """The counts are those of all units, and of all calls that runs bought which are not deleted."""
    kept = select(*(UNIT_COUNTS.c[name] for name in CELL), func.sum(UNIT_COUNTS.c.number))
    counted = select(*(UNITS.c[name] for name in CELL), func.count())
    assert _rows(db, kept, CELL) == _rows(db, counted, CELL)
    sums = [func.sum(SPENDING.c[name]) for name in ("calls", *SUMS, "estimated")]
    spent = select(SPENDING.c.run_id, SPENDING.c.stage, *sums)
    bought = select(
        GENERATIONS.c.run_id, GENERATIONS.c.stage, func.count(),
        *(func.sum(GENERATIONS.c[name]) for name in SUMS), func.sum(cast(GENERATIONS.c.estimated, Integer)),
    ).where(GENERATIONS.c.done.is_(True), GENERATIONS.c.run_id.in_(select(RUNS.c.id)))  # fmt: skip
    assert _rows(db, spent, ("run_id", "stage")) == _rows(db, bought, ("run_id", "stage"))


def _rows(db: Database, query: Any, keys: tuple[str, ...]) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Return the sums by key, without those that are nothing."""
    grouped = query.group_by(*(query.selected_columns[name] for name in keys))
    with db.read() as connection:
        rows = [tuple(row) for row in connection.execute(grouped)]
    sums = {row[: len(keys)]: tuple(map(int, row[len(keys) :])) for row in rows}
    return {key: values for key, values in sums.items() if any(values)}
