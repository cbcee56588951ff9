"""Batches of model calls, and the units that await them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "batch",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=96), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("endpoint", sa.String(length=64), nullable=False),
        sa.Column("input_file", sa.Text(), nullable=True),
        sa.Column("remote", sa.Text(), nullable=True),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("submitted_at", sa.Float(), nullable=True),
        sa.Column("settled_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("batch_run", "batch", ["run_id", "state"], unique=False)
    op.add_column("generation", sa.Column("batch", sa.String(length=32), nullable=True))
    op.add_column("generation", sa.Column("members", sa.JSON(), nullable=True))
    _create_partial_index("generation_batch", "generation", ["batch"], "batch IS NOT NULL")
    held = "lease_owner = 'batch'"
    _create_partial_index("generation_filed", "generation", ["lease_owner", "batch", "created_at"], held)
    _create_partial_index("unit_parked", "unit", ["lease_owner", "generation", "run_id"], held)


def downgrade() -> None:
    op.drop_index("unit_parked", "unit")
    op.drop_index("generation_filed", "generation")
    op.drop_index("generation_batch", "generation")
    op.drop_column("generation", "members")
    op.drop_column("generation", "batch")
    op.drop_table("batch")


def _create_partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name, table, columns, unique=False, postgresql_where=sa.text(where), sqlite_where=sa.text(where)
    )
