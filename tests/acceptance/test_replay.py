"""A run is repeated from its recording: the same rows, and nobody is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from producer.results.export.selection import RowKind, RowSelection, select_rows
from storage.ledger.runs import list_runs, load_run
from tests.openai_server.process import OpenAIServer
from tests.support.chores import read_jsonl, write_experiment, write_jsonl
from tests.support.pipeline import Ended, Home, home_with_indexes_of, run_locally

# Of the six cells, each asks one request that the server refused; a refusal is no generation.
REFUSED = 6
NAMES = ("teacher", "students.0")

pytestmark = pytest.mark.timeout(300)


def exported(ended: Ended, what: RowKind) -> list[dict[str, Any]]:
    """Return the rows that `starmill export` writes, without the name of the run."""
    with ended.home.ledger() as db:
        rows = list(select_rows(db, load_run(db, ended.run), RowSelection(what)))
    for row in rows:
        row.get("provenance", {}).pop("run", None)
    return rows


def record(ended: Ended, path: Path) -> list[dict[str, Any]]:
    return read_jsonl(write_jsonl(path, exported(ended, "generations")))


def replay(home: Home, experiment: Path, recording: Path, *more: str, expect: int = 0) -> Ended:
    """In the experiment only who answers is another."""
    settings = [f"{name}.{key}" for name in NAMES for key in ("backend=replay", f"recording={recording}")]
    options = [word for setting in (*settings, *more) for word in ("--set", setting)]
    completed = home.starmill("run", experiment, "--local", *options, expect=expect)
    with home.ledger() as db:
        return Ended(home, experiment, list_runs(db)[0].id, completed)


def rows(ended: Ended, *, keys: bool = True) -> dict[str, list[dict[str, Any]]]:
    """All that was made; without the `keys` of the calls and their prices where these may differ."""
    rows_by_kind = {"synthetic": exported(ended, "synthetic"), "answers": exported(ended, "answers")}
    if not keys:
        for row in (*rows_by_kind["synthetic"], *rows_by_kind["answers"]):
            row.pop("provenance")
    return rows_by_kind


def test_replayed_run_has_the_same_rows_and_makes_no_call(
    finished: Ended, server: OpenAIServer, tmp_path: Path
) -> None:
    path = tmp_path / "recording.jsonl"
    finished.home.starmill("export", finished.run, "--what", "generations", "--format", "jsonl", "-o", path)
    recorded = read_jsonl(path)
    assert len(recorded) == finished.home.json("status")["calls"]
    home = home_with_indexes_of(finished.home, tmp_path / "home")
    repeated = replay(home, finished.experiment, path, expect=1)
    assert server.stats()["calls"] == 0
    assert rows(repeated) == rows(finished)
    status, before = home.json("status"), finished.home.json("status")
    assert status["failures"] == {"not_recorded": REFUSED}
    for name in ("units", "tokens", "cost_usd", "calls"):
        assert status[name] == before[name], name
    assert exported(repeated, "generations") == recorded


def test_missing_recording_fails_its_row_alone(finished: Ended, tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    lost, *kept = sorted(record(finished, path), key=lambda row: row["stage"] != "augment")
    write_jsonl(path, kept)
    home = home_with_indexes_of(finished.home, tmp_path / "home")
    ended = replay(home, finished.experiment, path, "grid={shots: [0], rationale: [none]}", expect=1)
    assert "paused" not in ended.completed.stderr
    failures = exported(ended, "failures")
    assert {failure["reason"] for failure in failures} == {"not_recorded"}
    [failure] = [failure for failure in failures if failure["stage"] == "augment"]
    assert failure["request"] in lost["request"]["messages"][-1]["content"]
    assert f"{path} holds no answer to this request to large (augment of " in failure["detail"]
    assert len(exported(ended, "synthetic")) == 11


def test_common_calls_and_rejected_answers_are_repeated(
    data: Path, server: OpenAIServer, finished: Ended, tmp_path: Path
) -> None:
    """A repeated run may augment a request together with other requests."""
    server.configure(malformed=0.2)
    experiment = write_experiment(data, server.url, name="common", augment={"batch_size": 5},
                                  grid={"shots": [0], "retrieval": [False], "rationale": ["none"]},
                                  dataset={"path": ".", "train": "train.jsonl",
                                           "test": {"file": "test.jsonl", "limit": 3}})  # fmt: skip
    first = run_locally(home_with_indexes_of(finished.home, tmp_path / "first"), experiment)
    path = tmp_path / "recording.jsonl"
    recorded = record(first, path)
    augmented = [row for row in recorded if row["stage"] == "augment" and "request" not in row]
    assert [row["question_id"] for row in augmented] == [str(row) for row in range(12)]
    server.forget()
    home = home_with_indexes_of(finished.home, tmp_path / "second")
    again = replay(home, experiment, path, "units_per_task.augment=3")
    assert server.stats()["calls"] == 0
    assert rows(again, keys=False) == rows(first, keys=False)
    assert exported(again, "failures") == []


def test_the_ledger_is_not_taken_for_the_recording(finished: Ended, again: Ended, tmp_path: Path) -> None:
    """The run reports that the ledger knows another answer to the same request."""
    path = tmp_path / "recording.jsonl"
    recorded = record(finished, path)
    for row in recorded:
        row["text"] = f"{row['text']} "
    write_jsonl(path, recorded)
    stderr = replay(again.home, finished.experiment, path, expect=2).completed.stderr
    assert f"the ledger holds another answer than {path} to the same request" in stderr
    assert "replay the recording in a STARMILL_HOME of its own" in stderr


def test_a_recording_that_cannot_be_used_is_named(finished: Ended, tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    path.write_text(json.dumps({"stage": "answer", "question_id": "1"}) + "\n")
    home = Home(tmp_path / "home")
    stderr = home.starmill("run", finished.experiment, "--local", "--set", "teacher.backend=replay",
                         "--set", f"teacher.recording={path}", expect=2).stderr  # fmt: skip
    assert stderr == f"starmill: {path}:1: has no 'text'; its keys are stage, question_id\n"
