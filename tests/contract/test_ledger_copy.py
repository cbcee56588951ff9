"""A ledger that is moved, backed up and restored holds the same rows, and goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from models.core.errors import UsageError
from models.core.types import Rejection
from storage import ledger_copy
from storage.database import MIGRATIONS, Database
from storage.ledger import runs, scheduling
from storage.ledger.deletion import delete_runs
from storage.ledger_sizes import ledger_bytes, table_sizes
from storage.schema import INTERRUPTED, LEASES, PAUSED, RUNNING, TEST, TRAIN, UNITS
from tests.support.clock import Clock
from tests.support.counted import assert_counts_hold
from tests.support.ledger_data import NOW, LedgerRun, example, finish_test, finish_train, retrieved
from tests.support.small_run import Hand, plan

ROWS = [example(row, f"sort \N{SNOWMAN} {row}\n'") for row in range(3)]
LATER = NOW + 1000
CONFIG = json.loads((Path(__file__).parents[1] / "unit" / "golden" / "earlier_config.json").read_text())


@pytest.fixture
def target(database: Database, database_url: str) -> Iterator[Database]:
    """An empty database of each kind, beside a ledger of each kind."""
    db = Database(database_url)
    yield db
    db.close()


@pytest.fixture
def filled(database: Database) -> Database:
    """A ledger with a run that is half done."""
    planned = LedgerRun.plan(database, ROWS, ROWS, "small-1")
    planned.reject(TRAIN, "augment", Rejection("empty", "no text"), "")
    finish_train(planned)
    return database


def ledger_of_the_first_release(file: Path) -> Path:
    """A run of two units on two rows: one is done by a call after a rejection, one is ready."""
    db, config = Database(f"sqlite:///{file}"), Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with db.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for row in (0, 1):
            example = (row + 1, "data", "train", row, f"q{row}", "sort", "sorted()", "[]")
            connection.exec_driver_sql(f"INSERT INTO example VALUES {example}")
        config_text = json.dumps(CONFIG)
        connection.exec_driver_sql(
            "INSERT INTO run VALUES "
            "('old-1', 'old', 'paused', '', ?, 'hash', 'data', 2, 0, 1, 1, NULL, NULL, NULL)",
            (config_text,),
        )
        unit = (
            "INSERT INTO unit VALUES (?, 'old-1', ?, 'train', 'augment', '', 0, 'teacher', ?, 0, 1, 0, 0, {})"
        )
        unit = unit.format("NULL, NULL, NULL, 1, NULL, NULL, ?, NULL")
        connection.exec_driver_sql(unit, (1, 1, "done", "key"))
        connection.exec_driver_sql(unit, (2, 2, "ready", None))
        connection.exec_driver_sql(
            "INSERT INTO generation VALUES ('key', 'old-1', 1, 'augment', 'm', 1, NULL, NULL, '{}', "
            "'answer', NULL, 'stop', 1, 0, 2, 3, 0.5, 1)"
        )
        connection.exec_driver_sql(
            "INSERT INTO rejection VALUES (1, 'old-1', 1, 'augment', 0, 'empty', '', NULL, 1)"
        )
    db.close()
    return file


def rows(db: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows as the database holds them, JSON as text."""
    contents = {}
    with db.read() as connection:
        for table in UNITS.metadata.sorted_tables:
            columns = ", ".join(
                f"CAST({column.name} AS TEXT)" if str(column.type) == "JSON" else f'"{column.name}"'
                for column in table.columns
            )
            query = text(f'SELECT {columns} FROM "{table.name}"')
            contents[table.name] = sorted(map(tuple, connection.execute(query)), key=str)
    return contents


def test_a_moved_ledger_is_equal_and_goes_on(filled: Database, target: Database) -> None:
    before = rows(filled)
    counts = ledger_copy.move(filled, target, LATER)
    assert rows(target) == before
    assert counts == {name: len(held) for name, held in before.items()}
    assert_counts_hold(target)
    state, message = runs.run_state(filled, "small-1")
    assert (state, message) == (INTERRUPTED, f"the ledger was moved to {target}")
    moved = LedgerRun(target, runs.load_run(target, "small-1"))
    assert moved.run.state == RUNNING
    LedgerRun.plan(target, [example(9, "more")], [], "small-2")  # numbers of rows go on after those copied
    moved.finish(TEST, "retrieve", retrieved)
    finish_test(moved)
    moved.close()
    assert_counts_hold(target)


def test_a_backup_of_each_database_is_restored_in_each(
    filled: Database, target: Database, tmp_path: Path
) -> None:
    before = rows(filled)
    file = tmp_path / "backup.db"
    ledger_copy.back_up(filled, file)
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.glob("*backup*")) == ["backup.db"]
    ledger_copy.restore(file, target)
    assert rows(target) == rows(filled) == before
    assert_counts_hold(target)
    with pytest.raises(UsageError, match="holds a ledger; name an empty database"):
        ledger_copy.restore(file, target)
    with pytest.raises(UsageError, match=r"backup\.db exists; name another file"):
        ledger_copy.back_up(filled, file)


def test_what_is_written_during_a_backup_does_not_tear_it(filled: Database, tmp_path: Path) -> None:
    """A transaction that has not ended is no part of it, and does not hold it up."""
    before = rows(filled)
    with filled.write() as connection:
        connection.execute(UNITS.delete())
        ledger_copy.back_up(filled, tmp_path / "backup.db")
        connection.rollback()
    backup = Database(f"sqlite:///{tmp_path / 'backup.db'}")
    assert rows(backup) == before
    backup.close()


def test_a_ledger_at_work_is_not_moved(database: Database, target: Database, clock: Clock) -> None:
    hand = Hand(database, plan(database, clock), clock)
    hand.take(TRAIN, "augment")
    with pytest.raises(UsageError, match=r"workers hold \d units; stop them first"):
        ledger_copy.move(database, target, clock())
    with database.write() as connection:
        connection.execute(LEASES.delete())
    scheduling.claim_feeding(database, "small-1", "feeder", clock(), 10.0)
    with pytest.raises(UsageError, match="run small-1 is being fed by feeder; stop it first"):
        ledger_copy.move(database, target, clock())
    assert not any(rows(target).values())
    assert runs.run_state(database, "small-1")[0] == RUNNING
    runs.stop_run(database, "small-1", "", paused=True)
    ledger_copy.move(database, target, clock() + 11)
    assert runs.run_state(target, "small-1")[0] == PAUSED


def test_a_ledger_of_the_first_release_is_restored(target: Database, tmp_path: Path) -> None:
    first = ledger_of_the_first_release(tmp_path / "first.db")
    ledger_copy.restore(first, target)
    target.require_current()
    [run] = runs.list_runs(target)
    assert (run.id, run.experiment.name) == ("old-1", CONFIG["name"])
    held = {name: len(held) for name, held in rows(target).items() if held}
    assert held == {
        "run": 1,
        "example": 2,
        "unit": 2,
        "generation": 1,
        "unit_count": 2,
        "spending": 1,
        "rejection": 1,
    }
    assert_counts_hold(target)
    delete_runs(target, ["old-1"], LATER, answers=True)
    assert not any(rows(target).values())


@pytest.mark.parametrize("content", [b"", b"no ledger", None])
def test_what_is_no_backup_is_refused(content: bytes | None, target: Database, tmp_path: Path) -> None:
    file = tmp_path / "file.db"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=r"file\.db: is no ledger that"):
        ledger_copy.restore(file, target)


def test_a_vacuum_keeps_everything_and_frees_space(filled: Database) -> None:
    before = rows(filled)
    with filled.write() as connection:
        connection.execute(text("CREATE TABLE ballast AS SELECT * FROM unit"))
        for _ in range(6):
            connection.execute(text("INSERT INTO ballast SELECT * FROM ballast"))
    with filled.write() as connection:
        connection.execute(text("DROP TABLE ballast"))
    size = ledger_bytes(filled)
    ledger_copy.vacuum(filled)
    assert rows(filled) == before
    if filled.is_sqlite:
        assert ledger_bytes(filled) < size


def test_sizes_name_every_table(filled: Database) -> None:
    sizes = {size.name: size for size in table_sizes(filled)}
    assert {name: size.rows for name, size in sizes.items()} == {
        name: len(held) for name, held in rows(filled).items()
    }
    assert all(size.bytes for size in sizes.values())
