"""The space that a ledger takes, by table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel

from storage import schema
from storage.database import Database

# Pages of a table and of its indexes, as SQLite counts them; some builds of SQLite lack the table dbstat.
_SQLITE_BYTES = """
    SELECT tbl_name, sum(pgsize) AS size FROM dbstat JOIN sqlite_master USING (name)
    WHERE aggregate = TRUE GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class TableSize:
    """The rows of a table, and its bytes with those of its indexes; None where they are not known."""

    name: str
    rows: int
    bytes: int | None


def table_sizes(db: Database) -> list[TableSize]:
    """Return the size of each table, the largest first. All pages of an SQLite ledger are read."""
    names = [table.name for table in schema.UNITS.metadata.sorted_tables]
    with db.read() as connection:
        in_bytes = _sqlite_bytes(connection) if db.is_sqlite else _postgres_bytes(connection, names)
        sizes = [TableSize(name, _rows(connection, name), in_bytes.get(name)) for name in names]
    return sorted(sizes, key=lambda size: (size.bytes or 0, size.rows), reverse=True)


def ledger_bytes(db: Database) -> int:
    """Return the bytes of the whole database, with free pages and SQLite's log of changes."""
    if db.is_sqlite:
        files = [Path(f"{db.url.database}{ending}") for ending in ("", "-wal")]
        return sum(file.stat().st_size for file in files if file.exists())
    with db.read() as connection:
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def bytes_of_rows(db: Database, rows: Mapping[str, int]) -> int | None:
    """Return the bytes of so many rows by table, if they are as long as the others; None if not known."""
    total = 0
    for size in table_sizes(db):
        if rows.get(size.name):
            if size.bytes is None:
                return None
            total += size.bytes * rows[size.name] // max(size.rows, rows[size.name])
    return total


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below the folder; 0 if there is none."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _rows(connection: Connection, name: str) -> int:
    table = SQLModel.metadata.tables[name]
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _sqlite_bytes(connection: Connection) -> dict[str, int]:
    try:
        return {row.tbl_name: row.size for row in connection.execute(text(_SQLITE_BYTES))}
    except OperationalError:
        return {}


def _postgres_bytes(connection: Connection, names: list[str]) -> dict[str, int]:
    size = text("SELECT pg_total_relation_size(to_regclass(:name))")
    return {name: connection.execute(size, {"name": f'"{name}"'}).scalar_one() for name in names}
