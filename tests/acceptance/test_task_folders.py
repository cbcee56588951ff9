"""The shipped task folders tldr and docqa, whole runs with the embedded model for every part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.ledger.queries import iter_rows
from tests.support.pipeline import Home
from tests.support.word_vectors import write_word_vectors

SMALL = ("dataset.train.limit=2", "dataset.test.limit=2", "grid.shots=[0, 1]", "grid.retrieval=[true]")
TRAIN, CELLS = 2, 2


@pytest.mark.timeout(600)
@pytest.mark.parametrize("task", ["tldr", "docqa"])
def test_a_run_of_the_task_gives_rows_and_tables(task: str, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    encoder = f"passages.encoder={write_word_vectors(tmp_path / 'encoder')}"
    overrides = [word for each in (*SMALL, "grid.rationale=[none]", encoder) for word in ("--set", each)]
    completed = home.starmill("run", task, "--local", *overrides, expect=None, seconds=560)
    assert completed.returncode in (0, 1), completed.stderr
    assert "Accuracy" in completed.stdout
    run = home.json("status")["run"]
    synthetic = home.export(run, "synthetic")
    assert len(synthetic) == TRAIN
    report = json.loads(home.starmill("report", run, "--format", "json").stdout)
    assert len(report["ablation"]) == CELLS
    assert {"accuracy", "token_f1", "exact_match"} <= set(report["ablation"][0]["scores"])
    with home.ledger() as db:
        judged = [row for row in iter_rows(db, run, stages=("judge",)) if row.result]
        reasoned = [row for row in iter_rows(db, run, stages=("rationale", "rationalize")) if row.result]
    assert judged
    assert all(isinstance(row.result["correct"], bool) for row in judged)
    asked = [row.result["verdict"]["said"] for row in (*judged, *reasoned) if "verdict" in row.result]
    assert set(asked) <= {"right", "wrong", "no_verdict"}
    assert bool(asked) == (task == "docqa")
