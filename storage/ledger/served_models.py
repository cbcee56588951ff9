"""The models that answered the units of a run, as their servers named them."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select

from storage.database import Database
from storage.schema import GENERATIONS, UNITS


class ServedModel(NamedTuple):
    """`calls` were asked of `model`, and answered as `served`; None if the server named none."""

    model: str
    served: str | None
    calls: int


def served_models(db: Database, run_id: str) -> list[ServedModel]:
    """Count the calls on which the units of the run rest, whichever run bought them, by model, most first."""
    named = (GENERATIONS.c.model, GENERATIONS.c.served)
    calls = func.count(GENERATIONS.c.key.distinct()).label("calls")
    query = (
        select(*named, calls)
        .join(UNITS, UNITS.c.generation == GENERATIONS.c.key)
        .where(UNITS.c.run_id == run_id)
        .group_by(*named)
    )
    with db.read() as connection:
        rows = [ServedModel(row.model, row.served, int(row.calls)) for row in connection.execute(query)]
    return sorted(rows, key=lambda row: (row.model, -row.calls, row.served or ""))


def database_version(db: Database) -> str:
    """Return kind and version of the ledger's database, such as `SQLite 3.45.1`."""
    with db.read() as connection:
        numbers = connection.dialect.server_version_info or ()
    return f"{'SQLite' if db.is_sqlite else 'PostgreSQL'} {'.'.join(map(str, numbers))}".rstrip()
