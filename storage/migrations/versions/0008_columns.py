"""Examples keep all columns of their data."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("example", sa.Column("columns", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("example", "columns")
