"""`starmill ledger` and the sizes that `doctor` tells, as a user calls them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from storage.answer_journal import AnswerJournal
from storage.database import Database
from storage.ledger import runs
from storage.schema import GENERATIONS, INTERRUPTED, LEASES, PAUSED
from tests.support.command_line import command_line, starmill
from tests.support.ledger_data import LedgerRun, example, finish_train

ROWS = [example(row) for row in range(3)]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    with command_line(tmp_path, monkeypatch) as db:
        finish_train(LedgerRun.plan(db, ROWS, ROWS, "first"))
        runs.stop_run(db, "first", "", paused=True)
        with db.write() as connection:
            connection.execute(LEASES.delete())
        yield db


def states(url: str) -> list[str]:
    db = Database(url)
    try:
        return [run.state for run in runs.list_runs(db)]
    finally:
        db.close()


def test_a_ledger_is_backed_up_restored_moved_and_measured(
    ledger: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert starmill("ledger", "backup", "backup.db") == 0
    assert starmill("ledger", "backup", "backup.db") == 2
    assert "backup.db exists; name another file" in capsys.readouterr().err
    assert starmill("ledger", "backup", "no/such/backup.db") == 2
    assert starmill("ledger", "restore", "backup.db") == 2
    assert "holds a ledger; name an empty database" in " ".join(capsys.readouterr().err.split())
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert starmill("ledger", "move", str(ledger.url)) == 2
    assert starmill("ledger", "move", other) == 0
    assert "STARMILL_DATABASE_URL" in capsys.readouterr().err
    assert (states(str(ledger.url)), states(other)) == ([INTERRUPTED], [PAUSED])
    monkeypatch.setenv("STARMILL_DATABASE_URL", f"sqlite:///{tmp_path / 'restored.db'}")
    assert starmill("ledger", "restore", "backup.db") == 0
    assert states(f"sqlite:///{tmp_path / 'restored.db'}") == [PAUSED]
    assert starmill("ledger", "vacuum") == 0
    assert " MB now" in " ".join(capsys.readouterr().err.split())
    assert starmill("doctor", "--json") == 0
    findings = {each["name"]: each["says"] for each in json.loads(capsys.readouterr().out)["findings"]}
    assert "unit 30 rows (" in findings["ledger size"]
    assert {"journals", "indexes"} <= findings.keys()


def test_answers_of_killed_workers_are_moved_too(ledger: Database, tmp_path: Path) -> None:
    with ledger.read() as connection:
        bought = connection.execute(select(GENERATIONS).limit(1)).mappings().one()
    journal = AnswerJournal(tmp_path / "home" / "journals")
    journal.append({**bought, "key": "arrived"})
    journal.close()
    assert starmill("ledger", "move", f"sqlite:///{tmp_path / 'other.db'}") == 0
    other = Database(f"sqlite:///{tmp_path / 'other.db'}")
    with other.read() as connection:
        keys = set(connection.scalars(select(GENERATIONS.c.key)))
    other.close()
    assert "arrived" in keys
