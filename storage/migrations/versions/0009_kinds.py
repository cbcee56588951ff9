"""The kind of a unit's step, and room for the names of steps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
TABLES = ("unit", "generation", "rejection")


def upgrade() -> None:
    op.add_column("unit", sa.Column("kind", sa.String(16), nullable=True))
    # SQLite does not hold texts to a length (see `storage.schema`).
    if op.get_bind().dialect.name == "postgresql":
        for table in TABLES:
            op.alter_column(table, "stage", type_=sa.String(64), existing_nullable=False)


def downgrade() -> None:
    op.drop_column("unit", "kind")
    if op.get_bind().dialect.name == "postgresql":
        for table in TABLES:
            op.alter_column(table, "stage", type_=sa.String(16), existing_nullable=False)
