"""A lock between planning a run and deleting rows of data, which runs of the same data share."""

from __future__ import annotations

from sqlalchemy import Connection, text

_KEY = int.from_bytes(b"examples")


def lock_examples(connection: Connection, *, shared: bool) -> None:
    """Hold the rows of data until the transaction ends. Plans share the lock; SQLite has one writer."""
    if connection.dialect.name == "postgresql":
        function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
        connection.execute(text(f"SELECT {function}(:key)"), {"key": _KEY})
