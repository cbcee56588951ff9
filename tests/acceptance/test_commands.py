"""Every command on one finished run, as a person uses them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from models.core.pipeline.stages import STAGES
from tests.openai_server.process import OpenAIServer
from tests.support.chores import read_jsonl
from tests.support.pipeline import Ended

TRAIN, TEST, CELLS = 12, 6, 6
# The request that is too long fails in every cell.
ROWS = {"synthetic": TRAIN, "answers": CELLS * (TEST - 1), "failures": CELLS}
STATES = {"planned", "waiting", "ready", "in_flight", "done", "failed", "skipped"}

pytestmark = pytest.mark.timeout(300)


def test_run_prints_the_tables_and_counts_the_failures(finished: Ended) -> None:
    printed = finished.completed.stdout
    for heading in ("Synthetic set", "Ablation", "2-shot, retrieval, STaR"):
        assert heading in printed
    assert f"{CELLS} units failed: `starmill failures {finished.run}`" in finished.completed.stderr
    assert "Traceback" not in finished.completed.stderr


def test_status_counts_add_up(finished: Ended) -> None:
    status = finished.home.json("status")
    assert (status["run"], status["experiment"], status["state"]) == (finished.run, "small", "finished")
    # augment, retrieve, rationale, rationalize; retrieve, and an answer with its judge for each cell.
    assert status["planned"] == TRAIN * 4 + TEST * (1 + 2 * CELLS)
    assert list(status["stages"]) == [stage for stage in STAGES if stage != "grow"]
    for counted in (status["units"], *status["stages"].values(), *status["variants"].values()):
        assert set(counted) == STATES
        assert counted["planned"] == sum(counted.values()) - counted["planned"]
    for state, number in status["units"].items():
        assert number == sum(counted[state] for counted in status["stages"].values())
    for state, number in status["stages"]["answer"].items():
        assert number == sum(counted[state] for counted in status["variants"].values())
    assert len(status["variants"]) == CELLS
    assert status["units"]["failed"] == status["failures"]["context_overflow"] == CELLS
    tokens = status["tokens"]
    assert status["cost_usd"] == pytest.approx((0.5 * tokens["prompt"] + 1.5 * tokens["completion"]) / 1e6)
    assert status["calls"] > 0
    assert finished.home.json("status", finished.run[:-1]) == status
    assert f"{finished.run}: finished" in finished.home.starmill("status").stdout


@pytest.mark.parametrize("form", ["markdown", "latex", "csv", "json", "html"])
def test_report_in_every_format(form: str, finished: Ended) -> None:
    printed = finished.home.starmill("report", finished.run, "--format", form).stdout
    if form == "json":
        assert json.loads(printed)["run"] == finished.run
    elif form == "csv":
        assert len({len(row) for row in csv.reader(io.StringIO(printed))}) == 1
    else:
        begins = {"markdown": "| ", "latex": "\\begin{tabular}", "html": "<table"}[form]
        assert begins in printed
        assert "STaR" in printed


def test_report_into_a_file(finished: Ended, tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    printed = finished.home.starmill("report", finished.run, "-o", path).stdout
    assert printed == ""
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("what", ROWS)
def test_export_in_every_format(what: str, finished: Ended, tmp_path: Path) -> None:
    files = {"jsonl": tmp_path / "rows.jsonl", "parquet": tmp_path / "rows.parquet", "hf": tmp_path / "hf"}
    for form, path in files.items():
        finished.home.starmill("export", finished.run, "--what", what, "--format", form, "-o", path)
    rows = read_jsonl(files["jsonl"])
    assert len(rows) == ROWS[what]
    assert as_written(files["parquet"]) == rows
    [shard] = files["hf"].rglob("*.parquet")
    assert as_written(shard) == rows
    assert "configs:" in (files["hf"] / "README.md").read_text()


def test_export_for_fine_tuning(finished: Ended, tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    finished.home.starmill("export", finished.run, "--style", "chat", "--only", "accepted", "-o", path)
    rows = read_jsonl(path)
    assert rows
    assert all(row["correct"] for row in rows)
    roles = {tuple(message["role"] for message in row["messages"]) for row in rows}
    assert roles == {("system", "user", "assistant")}  # those of the rationale, with its answer


def test_failures_are_shown_and_retried(again: Ended, server: OpenAIServer) -> None:
    failures = again.home.json("failures", again.run, "--reason", "context_overflow")
    assert failures["reasons"] == {"context_overflow": CELLS}
    assert {entry["stage"] for entry in failures["failures"]} == {"answer"}
    assert len(failures["failures"]) == CELLS
    assert "context_overflow" in again.home.starmill("failures", again.run).stdout

    stderr = again.home.starmill("retry", again.run, "--reason", "context_overflow").stderr
    assert f"starmill run --resume {again.run}" in stderr
    again.home.starmill("run", "--resume", again.run, "--local")
    assert again.home.json("failures", again.run)["failures"] == []
    status = again.home.json("status")
    assert status["units"]["failed"] == 0
    assert status["stages"]["judge"]["done"] == TEST * CELLS
    assert server.stats()["answers"] == CELLS


def test_running_a_finished_run_again_buys_nothing(again: Ended, server: OpenAIServer) -> None:
    shown = again.home.starmill("run", again.experiment, "--local", expect=1)
    assert "is finished" in shown.stderr
    assert tables(shown.stdout) == tables(again.completed.stdout)

    # The request that is too long was never answered: it alone is asked again.
    again.home.starmill("run", again.experiment, "--local", "--new")
    assert server.stats()["answers"] == CELLS
    newest, oldest = again.home.json("runs")["runs"]
    assert (oldest["run"], newest["state"]) == (again.run, "finished")
    assert again.home.json("status")["calls"] == CELLS
    assert again.home.export(newest["run"], "synthetic") == again.home.export(oldest["run"], "synthetic")


def test_runs_experiments_and_doctor_print_their_lists(finished: Ended, tmp_path: Path) -> None:
    home = finished.home
    [listed] = home.json("runs")["runs"]
    assert (listed["run"], listed["state"]) == (finished.run, "finished")
    assert finished.run in home.starmill("runs").stdout
    assert set(home.json("experiments")["experiments"]) == {
        "demo",
        "conala",
        "conala-paper",
        "paper-table1",
        "retrieval-ablation",
        "tldr",
        "docqa",
    }
    assert home.json("experiments", "demo")["rationale"]["passes"] == 1
    assert "demo" in home.starmill("experiments").stdout
    examined = home.json("doctor")
    assert examined["ok"] is True
    assert {"database", "Redis", "sandbox"} <= {finding["name"] for finding in examined["findings"]}
    assert "database" in home.starmill("doctor").stdout


def test_the_index_is_built_once_and_searched(finished: Ended) -> None:
    built = finished.home.starmill("index", "build", finished.experiment).stderr
    assert "20 passages, 0 newly encoded" in built
    hits = finished.home.json("index", "search", finished.experiment, "the largest item of an iterable")
    assert hits["hits"][0]["id"] == "lib.max"
    assert len(hits["hits"]) == 2


def as_written(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    return rows


def tables(printed: str) -> str:
    return printed[printed.index("Synthetic set") :]
