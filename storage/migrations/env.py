"""Alembic runs this file with the connection of `storage.database.Database.migrate`."""

from __future__ import annotations

from alembic import context

from storage import schema

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=schema.UNITS.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
