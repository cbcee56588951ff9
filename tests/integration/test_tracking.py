"""A tracker gets a run at its end, from the process that feeds it: real clients, without a server."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from producer.results.tracking import track_run
from storage.database import Database
from tests.support.ledger_data import finish_test, finish_train, plan_mixed
from tests.support.step_runs import StepRun, end_all, rows

# The clients leave threads and processes of their own behind.
END = """
from storage.database import Database
from storage.ledger.runs import load_run
from storage.settings import load_settings
from producer.feeding.service import ElectedFeeder
settings = load_settings()
db = Database(settings.database)
feeder = ElectedFeeder(db, load_run(db, "small-1"), settings)
feeder.try_to_lead()
assert feeder.tick()
feeder.close()
db.close()
"""


def end_run(redis_url: str, tracker: str, **variables: str) -> str:
    """Return what the process that feeds the run prints on standard error."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "TRACKIO"))},
        "STARMILL_REDIS_URL": redis_url, "STARMILL_TRACKER": tracker, **variables,
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", END], env=environment, capture_output=True, text=True, check=True
    )
    assert ended.stdout == ""
    return ended.stderr


def finish_all(db: Database) -> None:
    run = plan_mixed(db)
    finish_train(run)
    finish_test(run)


def test_weights_and_biases_gets_settings_tables_and_cost(db: Database, redis_url: str) -> None:
    finish_all(db)
    end_run(redis_url, "wandb", WANDB_MODE="offline", WANDB_DIR="tracked")
    [folder] = Path("tracked/wandb").glob("offline-run-*")
    [records] = [path.read_bytes() for path in folder.glob("*.wandb")]
    for text in (b"small-1", b"teacher_1", b"cost_usd", b"pupil/2-shot/star/exact_match"):
        assert text in records
    tables = [json.loads(path.read_text()) for path in folder.glob("files/media/table/*.json")]
    [ablation] = [table for table in tables if table["columns"][:2] == ["Student", "Shots"]]
    assert [row[:3] for row in ablation["data"]] == [
        ["pupil", "0", "none"], ["pupil", "2", "none"], ["pupil", "2", "STaR"],
    ]  # fmt: skip


@pytest.mark.skipif(not importlib.util.find_spec("trackio"), reason="trackio is not installed")
def test_trackio_gets_settings_tables_and_cost(db: Database, redis_url: str) -> None:
    finish_all(db)
    end_run(redis_url, "trackio", TRACKIO_DIR="tracked")
    [file] = Path("tracked").glob("*.db")
    with closing(sqlite3.connect(file)) as stored:
        cells = [cell for table in ("metrics", "configs") for row in stored.execute(f"SELECT * FROM {table}")
                 for cell in row]  # fmt: skip
    text = b"".join(cell for cell in cells if isinstance(cell, bytes)).decode()
    for part in ("teacher_1", "cost_usd", "pupil/2-shot/star/exact_match", "Ablation", "STaR"):
        assert part in text
    assert "small-1" in cells


def test_a_tracker_that_fails_is_a_line_and_changes_nothing(db: Database, redis_url: str) -> None:
    finish_all(db)
    stderr = end_run(redis_url, "wandb", WANDB_MODE="no such mode")
    [line] = [line for line in stderr.splitlines() if "is not logged to wandb" in line]
    assert line.startswith("run small-1 is not logged to wandb: ")
    assert "Traceback" not in stderr


def test_a_tracker_that_is_not_installed_is_named(
    db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = StepRun.plan(db, rows(4))
    end_all(run)
    monkeypatch.setitem(sys.modules, "trackio", None)
    track_run(db, run.run, "trackio")
    assert caplog.messages == ["run steps-1 is not logged: trackio is not installed: pip install trackio"]
