"""Run by Alembic with the connection that `storage.database.Database.migrate` hands over."""

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
