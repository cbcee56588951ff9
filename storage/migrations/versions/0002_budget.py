"""A run's budget, and the amount that it is charged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("run", sa.Column("budget_nano_usd", sa.BigInteger(), nullable=True))
    op.add_column("run", sa.Column("charged_nano_usd", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("run", "charged_nano_usd")
    op.drop_column("run", "budget_nano_usd")
