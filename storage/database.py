"""Open the ledger's database, SQLite or PostgreSQL, and upgrade its schema."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    create_engine,
    event,
    inspect,
    make_url,
    text,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from models.adapters import tcp_keepalive
from models.adapters.private_files import private_folder
from models.core.errors import ServiceError
from storage.ledger_clock import MAX_SKEW_SECONDS, LedgerClock
from storage.service_errors import cause, is_damaged

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = int.from_bytes(b"starmill")
# The table in which Alembic keeps the revision of a database.
ALEMBIC_VERSION = Table(
    "alembic_version", MetaData(), Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)  # fmt: skip
# Threads of a worker process that use the ledger, independent of its -c.
WORKER_CONNECTIONS = 4
_KEEPALIVE = {
    "keepalives_idle": tcp_keepalive.IDLE,
    "keepalives_interval": tcp_keepalive.INTERVAL,
    "keepalives_count": tcp_keepalive.COUNT,
}
_CONNECT = {"connect_timeout": 5, "tcp_user_timeout": 1000 * tcp_keepalive.UNACKNOWLEDGED, **_KEEPALIVE}
ACCESS_HINT = "make the file and its folder ones that this user may write"
DAMAGE_HINT = "put a backup in its place, or move it away and begin a new one; `starmill doctor` checks it"
URL_HINT = "give sqlite:///FILE or postgresql://USER@HOST/NAME"


_SERVER_TIME = text("SELECT extract(epoch FROM clock_timestamp())")
_SERVER_START = text("SELECT extract(epoch FROM pg_postmaster_start_time())")


class ForeignSchema(ServiceError):
    """A ledger of another release."""


class Database:
    """Connections to the ledger. `read()` and `write()` are one transaction each.

    Raises ServiceError, with the address but not the password, if the database cannot be reached. Each
    connection to SQLite caches up to `cache_mib` of pages. `clock` is the time by which leases end and all
    is stamped: PostgreSQL's own, or this machine's, which alone has an SQLite file open.
    """

    def __init__(self, url: str, pool_size: int = 5, cache_mib: int = 32) -> None:
        try:
            self.url = make_url(url)
        except ArgumentError as error:
            raise ServiceError(f"STARMILL_DATABASE_URL: {error}; {URL_HINT}") from None
        kind = self.url.get_backend_name()
        if kind not in {"sqlite", "postgresql", "postgres"}:
            raise ServiceError(f"STARMILL_DATABASE_URL: only SQLite and PostgreSQL, not {kind}; {URL_HINT}")
        try:
            self.engine = _open(self.url, pool_size, cache_mib)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise ServiceError(f"STARMILL_DATABASE_URL: {error}; {URL_HINT}") from None
        self._writing = self.engine.execution_options(write=True)
        self.clock = LedgerClock(None if self.is_sqlite else self._server_time)

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._damage_reported(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Take SQLite's write lock at the start: a later upgrade would fail with `database is locked`."""
        with self._damage_reported(), self._writing.begin() as connection:
            yield connection

    @contextmanager
    def _damage_reported(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, ValueError) as error:
            if not is_damaged(error):
                raise
            raise ServiceError(f"the database {self} is damaged: {cause(error)}; {DAMAGE_HINT}") from error

    def migrate(self) -> None:
        """Create the tables, or upgrade them to this release."""
        self._check_reachable()
        current = self._revision()
        if current and current > self._head():
            raise self._foreign(current)
        if current != self._head() and not self._create():
            self._upgrade()

    def _create(self) -> bool:
        """Create all tables in an empty database, without Alembic. Return whether it was empty."""
        from storage.schema import UNITS

        with self.write() as connection:
            self._exclude_others(connection)
            if inspect(connection).get_table_names():
                return False
            UNITS.metadata.create_all(connection)
            ALEMBIC_VERSION.create(connection)
            connection.execute(ALEMBIC_VERSION.insert().values(version_num=self._head()))
        return True

    def _upgrade(self) -> None:
        # Imported late: most processes never upgrade a ledger, and save its ten megabytes.
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        try:
            with self.write() as connection:
                self._exclude_others(connection)
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as error:
            raise ServiceError(f"{self}: {error}; it was made by another release of Starmill") from None

    def _exclude_others(self, connection: Connection) -> None:
        """Keep processes that start together from creating the same table; SQLite has one writer."""
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})

    def is_new(self) -> bool:
        """Return True if the database has no tables yet. Raise ServiceError if it cannot be reached."""
        self._check_reachable()
        return self._revision() is None

    def require_current(self) -> None:
        """Raise ServiceError unless the schema is the one of this release: ForeignSchema if it is another."""
        self._check_reachable()
        current = self._revision()
        if current != self._head():
            raise self._foreign(current)

    def _foreign(self, current: str | None) -> ForeignSchema:
        remedy = "any producer command, such as `starmill runs`, upgrades it"
        if current and current > self._head():
            remedy = "it was made by another release of Starmill: upgrade this one to it"
        return ForeignSchema(
            f"{self}: schema is {current or 'empty'}, this release needs {self._head()}; {remedy}"
        )

    def require_agreeing_clock(self) -> None:
        """Raise ServiceError if this machine's clock is more than MAX_SKEW_SECONDS off the server's.

        Leases end by the server's clock all the same; but a machine whose clock is wrong also waits wrongly
        for the times that model servers name, and logs what cannot be compared.
        """
        self.clock.synchronize()
        skew = self.clock.skew
        if abs(skew) > MAX_SKEW_SECONDS:
            side = "ahead of" if skew > 0 else "behind"
            raise ServiceError(
                f"this machine's clock is {abs(skew):,.1f} s {side} that of the ledger, {self}: "
                f"no worker starts with more than {MAX_SKEW_SECONDS:.0f} s; set both by NTP"
            )

    def close(self) -> None:
        self.engine.dispose()

    def server_start(self) -> float:
        """Return when the server started, in seconds since the epoch; minus infinity for SQLite."""
        if self.is_sqlite:
            return float("-inf")
        with self.read() as connection:
            return float(connection.execute(_SERVER_START).scalar_one())

    def _server_time(self) -> float:
        with self.read() as connection:
            return float(connection.execute(_SERVER_TIME).scalar_one())

    def _revision(self) -> str | None:
        with self.read() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()

    @staticmethod
    def _head() -> str:
        """Return the newest revision: names of migration files begin with it."""
        return max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))

    def _make_private_file(self) -> None:
        """Make SQLite's file, whose permissions its journals get, for its owner alone."""
        name = self.url.database or ":memory:"
        if name != ":memory:" and not name.startswith("file:") and not Path(name).exists():
            private_folder(Path(name).parent)
            Path(name).touch(mode=0o600)

    def _check_reachable(self) -> None:
        try:
            if self.is_sqlite:
                self._make_private_file()
            with self.read():
                pass
        except (OSError, SQLAlchemyError) as error:
            hint = f"{ACCESS_HINT}, or " if no_access(error) else ""
            raise ServiceError(
                f"cannot open the database {self}: {cause(error)}; {hint}check STARMILL_DATABASE_URL"
            ) from None


def no_access(error: Exception) -> bool:
    """Return whether SQLite may not open or write its file, which says nothing about what is in it."""
    name = getattr(getattr(error, "orig", None), "sqlite_errorname", "")
    return name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM"))


def _open(url: URL, pool_size: int, cache_mib: int) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": 60, "check_same_thread": False})
        event.listen(engine, "connect", partial(_configure_sqlite, cache_mib))
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if url.drivername in {"postgresql", "postgres"}:
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(
        url, pool_size=pool_size, max_overflow=pool_size, pool_pre_ping=True, connect_args=_CONNECT
    )
    event.listen(engine, "connect", _configure_postgres)
    return engine


def _configure_postgres(connection: Any, _record: object) -> None:
    """Let the server notice that a client's machine is gone: it may hold locks."""
    connection.autocommit = True
    for name, value in _KEEPALIVE.items():
        connection.execute(f"SET tcp_{name} = {value}")
    connection.autocommit = False


def _configure_sqlite(cache_mib: int, connection: Any, _record: object) -> None:
    # The driver must not open transactions itself: see _begin_sqlite.
    connection.isolation_level = None
    for pragma in ("busy_timeout=60000", "synchronous=NORMAL", f"cache_size={-1000 * cache_mib}"):
        connection.execute(f"PRAGMA {pragma}")
    _use_wal(connection)


def _use_wal(connection: Any) -> None:
    """Retry to change the mode of a new file: SQLite does not wait for this lock by itself."""
    deadline = time.monotonic() + 60
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
