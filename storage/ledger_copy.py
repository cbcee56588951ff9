"""Copy a whole ledger to another database: move it, back it up to a file, restore it from one.

A backup is a ledger in SQLite, whatever the database. JSON is copied as the text that it is: as values, an
absent one would become the value null.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Row,
    Table,
    Text,
    cast,
    func,
    select,
    text,
    update,
)
from sqlalchemy.types import TypeDecorator

from models.core.errors import ServiceError, UsageError
from storage import schema
from storage.database import Database
from storage.ledger.leases import live_owners
from storage.schema import INTERRUPTED, PAUSED, PLANNED, RUNNING, RUNS, UNITS

PAGE = 2000
_TABLES = schema.UNITS.metadata.sorted_tables


class _JSONText(TypeDecorator[str]):
    """JSON of PostgreSQL, read as text."""

    impl = Text
    cache_ok = True

    def column_expression(self, column: ColumnElement[str]) -> ColumnElement[str]:
        return cast(column, Text)


def move(source: Database, target: Database, now: float) -> dict[str, int]:
    """Copy all rows while nobody works on the ledger, and return their number by table.

    Runs of the old ledger that have not ended are interrupted there, so that they are not paid for twice.
    Raises UsageError if somebody works on it, or if the target holds anything.
    """
    if source.url == target.url:
        raise UsageError(f"{target} is the ledger itself; name an empty database")
    _require_room(target)
    with source.write() as old:
        _lock(old)
        _require_still(old, now)
        with target.write() as new:
            counts = _copy(old, new)
        moved = update(RUNS).where(RUNS.c.state.in_((PLANNED, RUNNING, PAUSED)))
        old.execute(moved.values(state=INTERRUPTED, message=f"the ledger was moved to {target}"))
    return counts


def back_up(source: Database, file: Path) -> None:
    """Write the ledger as it is at one moment into a new SQLite file; workers may go on meanwhile.

    Raises UsageError if there is such a file, or no folder for it.
    """
    if file.exists():
        raise UsageError(f"{file} exists; name another file")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{file}: there is no folder {file.parent}; make it first")
    with tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=".backup-") as folder:
        part = Path(folder) / "ledger.db"
        os.close(os.open(part, os.O_CREAT | os.O_EXCL, 0o600))  # it holds prompts and answers
        if source.is_sqlite:
            _copy_file(Path(str(source.url.database)), part)
        else:
            source.require_current()
            _copy_snapshot(source, part)
        _make_single_file(part)
        part.rename(file)


def restore(file: Path, target: Database) -> dict[str, int]:
    """Copy a backup, also of an earlier release, into a new ledger, and return the number of rows by table.

    Raises UsageError for a file that is no ledger, and if the target holds anything.
    """
    if not _is_ledger(file):
        raise UsageError(f"{file}: is no ledger that `starmill ledger backup` wrote")
    _require_room(target)
    with tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=".restore-") as folder:
        part = Path(folder) / "ledger.db"
        _copy_file(file, part)
        with _open(part) as source:
            source.migrate()
            with source.read() as old, target.write() as new:
                return _copy(old, new)


def vacuum(db: Database) -> None:
    """Give the space of deleted rows back: SQLite's to the disk, PostgreSQL's to new rows."""
    statements = ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"]
    if not db.is_sqlite:
        statements = [f'VACUUM (ANALYZE) "{table.name}"' for table in _TABLES]
    with closing(db.engine.raw_connection()) as raw:
        connection = raw.driver_connection
        assert connection is not None
        if not db.is_sqlite:
            connection.autocommit = True
        for statement in statements:
            connection.execute(statement)
        if not db.is_sqlite:
            connection.autocommit = False


def _copy_snapshot(source: Database, part: Path) -> None:
    """Copy what PostgreSQL holds at one moment."""
    at_once = source.engine.execution_options(isolation_level="REPEATABLE READ")
    with _open(part) as target:
        target.migrate()
        with at_once.begin() as old, target.write() as new:
            _copy(old, new)


def _copy(old: Connection, new: Connection) -> dict[str, int]:
    """Copy all tables between transactions. Raise ServiceError if a row is missing at the end."""
    counts = {}
    for table in _TABLES:
        as_text = _as_text(table, old)
        every = select(as_text).order_by(*as_text.primary_key).execution_options(yield_per=PAGE)
        _write(new, table, old.execute(every).partitions())
        counts[table.name] = _count(old, table)
        if counts[table.name] != _count(new, table):
            raise ServiceError(f"table {table.name} was not copied whole; nothing was changed")
        if new.dialect.name == "postgresql" and "id" in table.c and table.c.id.autoincrement:
            _set_next_id(new, table)
    return counts


def _write(connection: Connection, table: Table, pages: Iterable[Sequence[Row[Any]]]) -> None:
    """Write rows as they were read, past the types of SQLAlchemy, which would take most of the time."""
    columns = ", ".join(f'"{column.name}"' for column in table.c)
    if connection.dialect.name == "postgresql":
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(f'COPY "{table.name}" ({columns}) FROM STDIN') as copy:
            for row in chain.from_iterable(pages):
                copy.write_row(row)
        return
    values = ", ".join("?" * len(table.c))
    statement = f'INSERT INTO "{table.name}" ({columns}) VALUES ({values})'  # noqa: S608 (our own names)
    for page in pages:
        connection.exec_driver_sql(statement, [tuple(row) for row in page])


def _as_text(table: Table, connection: Connection) -> Table:
    """Return the table with JSON as text."""
    as_text = Text() if connection.dialect.name == "sqlite" else _JSONText()
    columns = (
        Column(column.name, as_text if isinstance(column.type, JSON) else column.type,
               primary_key=column.primary_key)
        for column in table.c
    )  # fmt: skip
    return Table(table.name, MetaData(), *columns)


def _set_next_id(connection: Connection, table: Table) -> None:
    """Let PostgreSQL number new rows after those that were copied with their numbers."""
    sequence = connection.execute(
        text("SELECT pg_get_serial_sequence(:name, 'id')"), {"name": f'"{table.name}"'}
    ).scalar()
    last = connection.execute(select(func.max(table.c.id))).scalar()
    if sequence and last:
        connection.execute(select(func.setval(sequence, last)))


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _require_room(target: Database) -> None:
    """Make the tables of the target, which must hold no rows."""
    target.migrate()
    with target.read() as connection:
        if any(_count(connection, table) for table in _TABLES):
            raise UsageError(f"{target} holds a ledger; name an empty database")


def _lock(connection: Connection) -> None:
    """Keep writers out of PostgreSQL until the transaction ends; SQLite has one writer."""
    if connection.dialect.name == "postgresql":
        names = ", ".join(f'"{table.name}"' for table in _TABLES)
        connection.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))


def _require_still(connection: Connection, now: float) -> None:
    held = select(func.count()).select_from(UNITS).where(UNITS.c.lease_owner.in_(live_owners(now)))
    if units := connection.execute(held).scalar_one():
        raise UsageError(f"workers hold {units:,} units; stop them first, then move the ledger")
    fed = select(RUNS.c.id, RUNS.c.feeder).where(RUNS.c.feeder_until >= now)
    for run in connection.execute(fed):
        raise UsageError(f"run {run.id} is being fed by {run.feeder}; stop it first, then move the ledger")


def _is_ledger(file: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.Error:
        return False


def _copy_file(source: Path, target: Path) -> None:
    """Copy an SQLite file at one moment, whoever writes to it."""
    with closing(sqlite3.connect(source, timeout=60)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _make_single_file(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


@contextmanager
def _open(file: Path) -> Iterator[Database]:
    db = Database(f"sqlite:///{file}")
    try:
        yield db
    finally:
        db.close()
