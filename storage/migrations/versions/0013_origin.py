"""The origin of a run: the line that repeats it, versions, and hashes of its passages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("run", sa.Column("origin", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("run", "origin")
