"""Examples may have tests: answers to them can be executed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("example", sa.Column("tests", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("example", "tests")
