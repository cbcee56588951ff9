"""A run that the first release made is moved, backed up, restored and pruned: what it wrote stays."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, select

from storage import ledger_copy
from storage.database import Database
from storage.ledger.deletion import delete_runs, idle_runs
from storage.ledger.runs import list_runs
from storage.schema import UNITS
from tests.support.counted import assert_counts_hold

# 18 rows through all stages, by that release against `tests/openai_server`; six answers fail, as too long.
WRITTEN = Path(__file__).parents[1] / "unit" / "golden" / "first_release.sql.gz"
COUNTS = {"example": 18, "generation": 61, "rejection": 0, "run": 1, "unit": 126}
TABLES = UNITS.metadata.tables
DAY = 86_400.0


@pytest.fixture
def first(tmp_path: Path) -> Path:
    file = tmp_path / "first.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(gzip.decompress(WRITTEN.read_bytes()).decode())
    return file


@pytest.fixture
def target(database_url: str) -> Iterator[Database]:
    db = Database(database_url)
    yield db
    db.close()


def by_first_release(file: Path) -> dict[str, list[dict[str, Any]]]:
    """Return its tables, without the ends of leases, which have a table of their own today."""
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        return {
            name: [
                {
                    column: json.loads(row[column])
                    if row[column] and isinstance(TABLES[name].c[column].type, JSON)
                    else row[column]
                    for column in row.keys()  # noqa: SIM118
                    if column != "lease_until"
                }
                for row in connection.execute(f"SELECT * FROM {name} ORDER BY 1")
            ]
            for name in COUNTS
        }


def held(db: Database, like: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Return the same columns of a ledger of today."""
    with db.read() as connection:
        return {
            name: [
                dict(row)
                for row in connection.execute(
                    select(*(TABLES[name].c[column] for column in rows[0])).order_by(
                        *TABLES[name].primary_key
                    )
                ).mappings()
            ]
            for name, rows in like.items()
            if rows
        }


def test_what_the_first_release_wrote_stays(first: Path, target: Database, tmp_path: Path) -> None:
    written = by_first_release(first)
    assert {name: len(rows) for name, rows in written.items()} == COUNTS
    expected = {name: rows for name, rows in written.items() if rows}
    source = Database(f"sqlite:///{first}")
    source.migrate()
    moved = ledger_copy.move(source, target, source.clock())
    source.close()
    assert {name: moved[name] for name in COUNTS} == COUNTS
    assert held(target, written) == expected
    assert_counts_hold(target)
    ledger_copy.back_up(target, tmp_path / "backup.db")
    for number, file in enumerate((tmp_path / "backup.db", first)):
        restored = Database(f"sqlite:///{tmp_path / f'restored-{number}.db'}")
        ledger_copy.restore(file, restored)
        assert held(restored, written) == expected
        assert_counts_hold(restored)
        restored.close()


def test_a_run_of_the_first_release_is_pruned(first: Path, target: Database) -> None:
    ledger_copy.restore(first, target)
    [run] = list_runs(target)
    ended = by_first_release(first)["run"][0]["finished_at"]
    assert idle_runs(target, 30, ended + 29 * DAY) == []
    assert idle_runs(target, 30, ended + 31 * DAY) == [run.id]
    gone = delete_runs(target, [run.id], ended + 31 * DAY, answers=False)
    assert {name: gone[name] for name in ("run", "unit", "example")} == {"run": 1, "unit": 126, "example": 18}
    with target.read() as connection:
        left = {name: len(connection.execute(select(table)).all()) for name, table in TABLES.items()}
    assert {name: rows for name, rows in left.items() if rows} == {"generation": 61}
