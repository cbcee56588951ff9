"""The migrations build what the code expects, in both kinds of database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from subprocess import PIPE

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select, text
from sqlmodel import SQLModel

from models.core.errors import ServiceError
from storage.database import MIGRATIONS, Database
from storage.ledger.batch_enqueue import enqueue_for_batch
from storage.ledger.outcomes import keep_purchase
from storage.ledger.purchases import Busy, CallClaim, reserve
from storage.schema import GENERATIONS, RUNS, TRAIN
from tests.support.clock import Clock
from tests.support.counted import assert_counts_hold
from tests.support.small_run import LEASE, Hand, claim_units, ids, plan, purchase, request


@pytest.fixture
def fresh(database_url: str) -> Iterator[Database]:
    """A ledger of its own that migrations have built, whose tables a test may drop."""
    db = Database(database_url)
    db.migrate()
    downgrade(db)
    db.migrate()
    yield db
    db.close()


def tables(db: Database) -> set[str]:
    return set(inspect(db.engine).get_table_names())


def reflected(db: Database) -> dict[str, list[str]]:
    """Columns, indexes and constraints of each table."""
    inspector = inspect(db.engine)
    return {
        name: sorted(
            json.dumps(part, default=str, sort_keys=True)
            for part in [
                *inspector.get_columns(name),
                *inspector.get_indexes(name),
                *inspector.get_unique_constraints(name),
                inspector.get_pk_constraint(name),
            ]
        )
        for name in SQLModel.metadata.tables
    }


def differences(db: Database) -> list[object]:
    with db.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return list(compare_metadata(context, SQLModel.metadata))


def downgrade(db: Database) -> None:
    migrate_to(db, "base")


def migrate_to(db: Database, revision: str) -> None:
    """Take the ledger back to an older revision."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with db.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_migrations_make_the_schema(fresh: Database) -> None:
    assert differences(fresh) == []
    assert tables(fresh) == {*SQLModel.metadata.tables, "alembic_version"}


def test_the_last_file_is_the_last_revision(fresh: Database) -> None:
    script = ScriptDirectory(str(MIGRATIONS))
    with fresh.read() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == script.get_current_head()
    fresh.require_current()


def test_migrations_make_what_a_new_ledger_has(fresh: Database) -> None:
    """Alembic compares neither the conditions of indexes nor all types."""
    migrated = reflected(fresh)
    downgrade(fresh)
    with fresh.write() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    fresh.migrate()
    assert migrated == reflected(fresh)
    fresh.require_current()


def test_tables_of_others_are_not_taken_for_a_ledger(fresh: Database) -> None:
    downgrade(fresh)
    with fresh.write() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
        connection.execute(text("CREATE TABLE other (id INTEGER)"))
    fresh.migrate()
    assert tables(fresh) == {*SQLModel.metadata.tables, "alembic_version", "other"}
    fresh.require_current()


def test_migrations_go_down_and_up_again(fresh: Database, clock: Clock) -> None:
    plan(fresh, clock)
    downgrade(fresh)
    assert tables(fresh) == {"alembic_version"}
    fresh.migrate()
    assert differences(fresh) == []
    fresh.require_current()


def test_migrating_twice_keeps_everything(fresh: Database, clock: Clock) -> None:
    run = plan(fresh, clock)
    fresh.migrate()
    assert plan(fresh, clock, "small-2").planned == run.planned


def test_a_ledger_of_before_opens_with_what_it_holds(fresh: Database, clock: Clock) -> None:
    hand = Hand(fresh, plan(fresh, clock), clock)
    [unit, *_] = hand.take(TRAIN, "augment")
    keep_purchase(fresh, unit, purchase(request()), clock())
    migrate_to(fresh, "0006")
    assert "reasoning" not in {column["name"] for column in inspect(fresh.engine).get_columns("generation")}
    fresh.migrate()
    assert differences(fresh) == []
    with fresh.read() as connection:
        [stored] = connection.execute(select(GENERATIONS))
        assert (stored.answer, stored.reasoning, stored.reasoning_tokens, stored.estimated) == (
            purchase(request()).completion.text, None, 0, False,
        )  # fmt: skip
        assert connection.scalar(select(RUNS.c.unanswered_nano_usd)) == 0
    assert_counts_hold(fresh)
    hand.done(unit)
    assert_counts_hold(fresh)


def test_leases_of_each_unit_become_leases_of_workers(fresh: Database, clock: Clock) -> None:
    hand = Hand(fresh, plan(fresh, clock), clock)
    live, dead, filed = ids(fresh, stage="augment")
    [claimed] = claim_units(fresh, "live", [live], clock())
    reserve(fresh, "live", [CallClaim(claimed, request())], clock())
    [parked] = claim_units(fresh, "live", [filed], clock())
    enqueue_for_batch(fresh, "live", [parked], CallClaim(parked, request("filed")), clock())
    clock.advance(1)
    claim_units(fresh, "dead", [dead], clock() - LEASE - 1)
    migrate_to(fresh, "0009")
    with fresh.read() as connection:
        held_units, held_calls = (
            {tuple(row) for row in connection.execute(text(f"SELECT lease_owner, lease_until FROM {table}"))}
            for table in ("unit", "generation")
        )
    until = clock() - 1 + LEASE
    assert held_units == {(None, None), ("live", until), ("dead", clock() - 1), ("batch", 1e11)}
    assert held_calls == {("live", until), ("batch", 1e11)}
    fresh.migrate()
    assert differences(fresh) == []
    assert [unit.unit_id for unit in claim_units(fresh, "new", [live, dead, filed], clock())] == [dead]
    assert reserve(fresh, "new", [CallClaim(claimed, request())], clock()) == [Busy()]
    assert hand.done(claimed) == 1


MIGRATE = """
import sys
from storage.database import Database
db = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
db.migrate()
db.require_current()
db.close()
"""


def test_processes_may_migrate_at_the_same_time(database_url: str) -> None:
    command = [sys.executable, "-c", MIGRATE, database_url]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=environment)
            )
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.wait() for process in processes] == [0, 0]


def test_empty_or_foreign_database_is_refused(database_url: str) -> None:
    db = Database(database_url)
    try:
        with pytest.raises(ServiceError, match=r"schema is empty, this release needs 0015"):
            db.require_current()
        db.migrate()
        db.require_current()
        with db.write() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
        with pytest.raises(ServiceError, match=r"schema is later, this release needs 0015"):
            db.require_current()
        with pytest.raises(ServiceError, match=r"it was made by another release of Starmill"):
            db.migrate()
    finally:
        db.close()


def test_claimed_units_are_read_without_ended_ones(database: Database) -> None:
    query = text(f"{'EXPLAIN QUERY PLAN' if database.is_sqlite else 'EXPLAIN'} "
                 "SELECT * FROM unit WHERE lease_owner = 'worker'")  # fmt: skip
    with database.read() as connection:
        if not database.is_sqlite:
            # An empty table is read whole unless that is dear.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        assert "unit_lease" in str(connection.execute(query).all())
