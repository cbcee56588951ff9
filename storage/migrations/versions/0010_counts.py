"""Counts of units and of spending, kept where the units and calls change; and an index of ended units."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from storage.count_tables import TRIGGERS

revision = "0010"
down_revision = "0009"

KEY = "run_id, split, stage, variant, state"
SUMS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "cost_nano_usd")
COUNT_ALL = (
    f"INSERT INTO unit_count ({KEY}, number) SELECT {KEY}, count(*) FROM unit GROUP BY {KEY}",  # noqa: S608
    f"""INSERT INTO spending (run_id, stage, calls, {", ".join(SUMS)}, seconds, estimated)
    SELECT run_id, stage, count(*), {", ".join(f"sum({name})" for name in SUMS)},
      coalesce(sum(seconds), 0), sum(CASE WHEN estimated THEN 1 ELSE 0 END)
    FROM generation WHERE done GROUP BY run_id, stage""",  # noqa: S608
)


def upgrade() -> None:
    number = sa.BigInteger()
    op.create_table(
        "unit_count",
        sa.Column("id", number.with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.String(96), nullable=False),
        sa.Column("split", sa.String(8), nullable=False),
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("variant", sa.String(128), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("number", number, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("unit_count_run", "unit_count", ["run_id"])
    op.create_table(
        "spending",
        sa.Column("id", number.with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.String(96), nullable=False),
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("calls", number, nullable=False),
        *(sa.Column(name, number, nullable=False) for name in SUMS),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("estimated", number, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("spending_run", "spending", ["run_id"])
    ended = sa.text("finished_at IS NOT NULL")
    op.create_index(
        "unit_ended", "unit", ["run_id", "finished_at", "state", "queue", "stage"],
        postgresql_where=ended, sqlite_where=ended,
    )  # fmt: skip
    for statement in (*TRIGGERS[op.get_bind().dialect.name], *COUNT_ALL):
        op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER unit_counted")
    else:
        op.execute("DROP TRIGGER unit_counted ON unit")
        op.execute("DROP FUNCTION count_unit")
    op.drop_index("unit_ended", "unit")
    op.drop_table("spending")
    op.drop_table("unit_count")
