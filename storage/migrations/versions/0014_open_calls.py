"""Calls in flight of a run are found without reading those that are bought."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_index(
        "generation_open", "generation", ["run_id"],
        postgresql_where=sa.text("done IS false"), sqlite_where=sa.text("done IS 0"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_index("generation_open", "generation")
