"""Workers report the GPUs of their engines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("engine", sa.Column("gpus", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("engine", "gpus")
