"""Columns for ids that the dataset gives, a model's reasoning, and the possible cost of unanswered calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("generation", sa.Column("reasoning", sa.Text, nullable=True))
    op.add_column("generation", sa.Column("reasoning_tokens", sa.Integer, nullable=False, server_default="0"))
    op.add_column("generation", sa.Column("estimated", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("example", sa.Column("has_id", sa.Boolean, nullable=True))
    op.add_column("run", sa.Column("unanswered_nano_usd", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    for column in ("reasoning", "reasoning_tokens", "estimated"):
        op.drop_column("generation", column)
    op.drop_column("run", "unanswered_nano_usd")
    op.drop_column("example", "has_id")
