"""`starmill runs delete` and `prune` as a user calls them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from storage.database import Database
from storage.ledger import runs
from storage.schema import GENERATIONS, LEASES, RUNNING, RUNS
from tests.support.command_line import command_line, starmill
from tests.support.ledger_data import NOW, LedgerRun, example, finish_train

ROWS = [example(row) for row in range(3)]


Ask = Callable[..., str]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """Runs `first` and `second`, paused long ago."""
    with command_line(tmp_path, monkeypatch) as db:
        for name in ("first", "second"):
            finish_train(LedgerRun.plan(db, ROWS, ROWS, name))
            runs.stop_run(db, name, "", paused=True)
        with db.write() as connection:
            connection.execute(LEASES.delete())
        yield db


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command that must end with this code; what it printed, messages first."""

    def run(*words: str, expect: int = 0) -> str:
        assert starmill("runs", *words) == expect
        out, messages = capsys.readouterr()
        return " ".join(messages.split()) + out

    return run


def left(db: Database) -> set[str]:
    return {run.id for run in runs.list_runs(db)}


def test_nothing_is_deleted_without_a_yes(ledger: Database, ask: Ask) -> None:
    printed = ask("delete", "first", expect=2)
    assert "there is no terminal to ask; give --yes to delete" in printed
    assert printed.startswith("first: ")
    assert "answers bought, which stay for other runs" in printed
    assert left(ledger) == {"first", "second"}


def test_runs_are_deleted_by_the_beginnings_of_their_names(ledger: Database, ask: Ask) -> None:
    assert ask("delete", "fir", "--yes").startswith("rows deleted: run 1, unit ")
    assert left(ledger) == {"second"}
    [document] = [json.loads(ask("delete", "second", "--generations", "--yes", "--json"))]
    assert document["runs"] == ["second"]
    assert document["deleted"]["generation"] > 0
    with ledger.read() as connection:
        assert connection.execute(select(func.count()).select_from(GENERATIONS)).scalar_one() == 0


def test_one_name_that_is_wrong_deletes_none(ledger: Database, ask: Ask) -> None:
    assert "no run 'third'" in ask("delete", "first", "third", "--yes", expect=2)
    runs.start_run(ledger, "second", NOW)
    refused = ask("delete", "first", "second", "--yes", expect=2)
    assert "run second is running; pause it first: starmill pause second" in refused
    assert left(ledger) == {"first", "second"}


def test_runs_of_long_ago_are_pruned(ledger: Database, ask: Ask) -> None:
    assert ask("prune", "--older-than", "36500", "--yes") == "rows deleted: none"
    runs.start_run(ledger, "second", NOW)
    with ledger.write() as connection:
        connection.execute(update(RUNS).values(started_at=0.0))
    ask("prune", "--older-than", "1", "--yes")
    assert left(ledger) == {"second"}
    assert ask().startswith("run")


def test_a_run_of_another_version_is_listed_and_left_alone(ledger: Database, ask: Ask) -> None:
    with ledger.write() as connection:
        config = connection.execute(select(RUNS.c.config).where(RUNS.c.id == "first")).scalar_one()
        strange = {**config, "teacher": {**config["teacher"], "mood": "good"}}
        connection.execute(update(RUNS).where(RUNS.c.id == "first").values(config=strange, state=RUNNING))
    says = "run first was planned by another version of Starmill, which this one cannot read (teacher.mood: "
    assert says in ask()
    listed = {run["run"]: run["unreadable"] for run in json.loads(ask("--json"))["runs"]}
    assert listed["second"] is None
    assert listed["first"].startswith(says)
    assert starmill("status", "first") == 2
    assert says in ask()
    assert starmill("status", "second") == 0
    runs.start_run(ledger, "second", NOW)
    assert [run.id for run in runs.running_runs(ledger)] == ["second"]
    assert runs.run_state(ledger, "first") == (RUNNING, "")
    runs.stop_run(ledger, "first", "", paused=True)
    ask("delete", "first", "--yes")
    assert left(ledger) == {"second"}
