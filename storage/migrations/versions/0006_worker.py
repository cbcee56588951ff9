"""Units store the worker that ended them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("unit", sa.Column("worker", sa.String(64), nullable=True))


def downgrade() -> None:
    op.drop_column("unit", "worker")
