"""One lease for each worker process, in place of one for each unit and call."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
TABLES = ("unit", "generation")
# The end of leases of what awaits a batch.
FOREVER = 1e11
LEASE = sa.table("lease", sa.column("owner"), sa.column("expires_at"))
KEEP_LEASES = """
    INSERT INTO lease SELECT lease_owner, max(lease_until)
    FROM (SELECT lease_owner, lease_until FROM unit UNION ALL SELECT lease_owner, lease_until FROM generation)
    AS claimed WHERE lease_owner <> 'batch' AND lease_until IS NOT NULL GROUP BY lease_owner
"""


def upgrade() -> None:
    op.create_table(
        "lease",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("expires_at", sa.Float(), nullable=False),
    )
    op.execute(KEEP_LEASES)
    op.drop_index("generation_lease", "generation")
    for table in TABLES:
        op.drop_column(table, "lease_until")


def downgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("lease_until", sa.Float(), nullable=True))
        claimed = sa.table(table, sa.column("lease_owner"), sa.column("lease_until"))
        until = sa.select(LEASE.c.expires_at).where(LEASE.c.owner == claimed.c.lease_owner)
        ends = sa.case((claimed.c.lease_owner == "batch", FOREVER), else_=until.scalar_subquery())
        op.execute(sa.update(claimed).where(claimed.c.lease_owner.is_not(None)).values(lease_until=ends))
    held = sa.text("lease_owner IS NOT NULL")
    op.create_index(
        "generation_lease", "generation", ["lease_owner"], postgresql_where=held, sqlite_where=held
    )
    op.drop_table("lease")
