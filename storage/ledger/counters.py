"""Write the counts of `storage.count_tables`: of a new plan and of purchases, and their sums."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select

from storage.database import Database
from storage.schema import GENERATIONS, SPENDING, UNIT_COUNTS

MAX_FOLDED = 20_000
_SAME = (
    "run_id", "stage", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens",
    "cost_nano_usd",
)  # fmt: skip
_KEYS = ("run_id", "split", "stage", "variant", "state")


def count_planned(connection: Connection, units: Iterable[Mapping[str, Any]]) -> None:
    """Count units of a new run, given as rows of their table, in the transaction that stores them."""
    cells = Counter(tuple(unit[name] for name in _KEYS) for unit in units)
    rows = [dict(zip(_KEYS, cell, strict=True)) | {"number": number} for cell, number in cells.items()]
    if rows:
        connection.execute(insert(UNIT_COUNTS), rows)


def add_spending(connection: Connection, generations: Iterable[Mapping[str, Any]]) -> None:
    """Count newly stored generations, given as rows of their table, in the transaction that stores them."""
    calls = (
        {
            **{name: row[name] for name in _SAME}, "calls": 1, "seconds": row["seconds"] or 0.0,
            "estimated": int(row["estimated"]),
        }
        for row in generations
    )  # fmt: skip
    if rows := _summed(SPENDING, calls):
        connection.execute(insert(SPENDING), rows)


def add_batch_spending(connection: Connection, answers: Mapping[str, Mapping[str, Any]]) -> None:
    """Count those of the answers, by the key of their call, that are not stored yet. Their calls are locked
    until the transaction stores them."""
    query = (
        select(GENERATIONS.c.key, GENERATIONS.c.run_id, GENERATIONS.c.stage)
        .where(GENERATIONS.c.key.in_(list(answers)), GENERATIONS.c.done.is_(False))
        .order_by(GENERATIONS.c.key)
        .with_for_update()
    )
    calls = connection.execute(query).mappings().all()
    add_spending(connection, ({**answers[call["key"]], **call, "seconds": None} for call in calls))


def fold(db: Database, run_id: str, differences: int) -> None:
    """Replace so many differences of a run by their sums, the oldest first, in transactions of bounded size.
    What is added meanwhile stays."""
    for _ in range(0, differences, MAX_FOLDED):
        _fold_oldest(db, run_id)


def _fold_oldest(db: Database, run_id: str) -> None:
    with db.write() as connection:
        for table in (UNIT_COUNTS, SPENDING):
            columns = [column for column in table.c if column.name != "id"]
            oldest = select(table.c.id).where(table.c.run_id == run_id).order_by(table.c.id).limit(MAX_FOLDED)
            gone = delete(table).where(table.c.id.in_(oldest)).returning(*columns)
            rows = _summed(table, map(dict, connection.execute(gone).mappings()))
            if rows:
                connection.execute(insert(table), rows)


def _summed(table: Table, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for each key with the sums of its measures, unless all are 0."""
    keys = [column.name for column in table.c if column.name in _KEYS]
    sums: defaultdict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for row in rows:
        of_key = sums[tuple(row[name] for name in keys)]
        for name in row.keys() - set(keys):
            of_key[name] += row[name]
    return [
        dict(zip(keys, key, strict=True)) | of_key for key, of_key in sums.items() if any(of_key.values())
    ]
