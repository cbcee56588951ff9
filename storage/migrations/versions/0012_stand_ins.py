"""An index of units that failed and whose rows went on, and the models by which servers answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
STAND_IN = sa.text("state = 'done' AND reason IS NOT NULL")


def upgrade() -> None:
    columns = ["run_id", "stage", "reason"]
    op.create_index("unit_stand_in", "unit", columns, postgresql_where=STAND_IN, sqlite_where=STAND_IN)
    op.add_column("generation", sa.Column("served", sa.String(128), nullable=True))


def downgrade() -> None:
    op.drop_column("generation", "served")
    op.drop_index("unit_stand_in", "unit")
