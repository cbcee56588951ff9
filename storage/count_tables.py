"""Counts that are kept with what they count, so that nobody reads all units or calls of a run for its status.

Rows are only added, each a difference, so that transactions never wait for one another here. The value is the
sum of all rows; the feeder replaces many by their sum. A trigger adds the differences of units, in the
transaction that changes a unit's state, whoever changes it.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import DDL, BigInteger, Column, Float, Index, Integer, String, Table, event
from sqlmodel import SQLModel

_ID = BigInteger().with_variant(Integer, "sqlite")

# Units of a run by split, stage, variant and state.
UNIT_COUNTS: Final = Table(
    "unit_count",
    SQLModel.metadata,
    Column("id", _ID, primary_key=True),
    Column("run_id", String(96), nullable=False),
    Column("split", String(8), nullable=False),
    Column("stage", String(64), nullable=False),
    Column("variant", String(128), nullable=False),
    Column("state", String(8), nullable=False),
    Column("number", BigInteger, nullable=False),
    Index("unit_count_run", "run_id"),
)
# Calls that a run bought, by stage.
SPENDING: Final = Table(
    "spending",
    SQLModel.metadata,
    Column("id", _ID, primary_key=True),
    Column("run_id", String(96), nullable=False),
    Column("stage", String(64), nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost_nano_usd", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("estimated", BigInteger, nullable=False),
    Index("spending_run", "run_id"),
)

_COUNT = """INSERT INTO unit_count (run_id, split, stage, variant, state, number) VALUES
  (OLD.run_id, OLD.split, OLD.stage, OLD.variant, OLD.state, -1),
  (NEW.run_id, NEW.split, NEW.stage, NEW.variant, NEW.state, 1);"""
# A migration that makes the table `unit` anew in SQLite must make the trigger anew, too.
TRIGGERS: Final = {
    "sqlite": (
        f"""CREATE TRIGGER unit_counted AFTER UPDATE OF state ON unit WHEN OLD.state <> NEW.state
        BEGIN {_COUNT} END""",
    ),
    "postgresql": (
        f"""CREATE FUNCTION count_unit() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN {_COUNT} RETURN NULL; END $$""",
        """CREATE TRIGGER unit_counted AFTER UPDATE OF state ON unit FOR EACH ROW
        WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION count_unit()""",
    ),
}
for _dialect, _statements in TRIGGERS.items():
    for _statement in _statements:
        _ddl = DDL(_statement)  # type: ignore[no-untyped-call]
        event.listen(SQLModel.metadata, "after_create", _ddl.execute_if(dialect=_dialect))
