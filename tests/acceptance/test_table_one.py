"""The paper's files of predictions go through queue and judge into its Table 1, by one command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.core.metrics.scores import score
from producer.experiments.load import load_experiment
from tests.support.chores import read_jsonl
from tests.support.pipeline import Home

pytestmark = pytest.mark.timeout(600)
SCORES = ("bleu4", "char_bleu", "exact_match")
# Rows of the small test split, two of which share an id.
ROWS = 14


def run_table(data: Path, conala: Path, tmp_path: Path, *settings: str) -> dict[str, Any]:
    """Run the preset with its students' answers in `data`, and its rows in `conala`. Return the report."""
    folder = data / "paper" / "completions_visible"
    paths = [f"dataset.path={conala}", *(f"students.{n}.recording.folder={folder}" for n in (0, 1))]
    overrides = [word for setting in (*paths, *settings) for word in ("--set", setting)]
    command = ("run", "paper-table1", "--local", "--report", "json", *overrides)
    report: dict[str, Any] = json.loads(Home(tmp_path / "home").starmill(*command, seconds=300).stdout)
    return report


def files_of_cells() -> dict[str, str]:
    """Return the name of the file behind each cell of the preset."""
    return {
        f"{student.name}/{cell}": Path(path).stem
        for student in load_experiment("paper-table1").students
        for cell, path in student.recording.paths.items()  # type: ignore[union-attr] # of a preset with cells
    }


def scores_of(report: dict[str, Any]) -> dict[str, dict[str, float]]:
    files = files_of_cells()
    return {
        files[cell["variant"]]: {"n": cell["n"]}
        | {name: round(cell["scores"][name]["value"], 2) for name in SCORES}
        for cell in report["ablation"]
    }


def few_rows(data: Path, folder: Path) -> list[dict[str, Any]]:
    """Write a small train and test split, in which an id stands twice. Return the test rows."""
    rows = json.loads((data / "conala" / "test_visible.json").read_text())
    ids = [row["question_id"] for row in rows]
    twice = [row for row in rows if ids.count(row["question_id"]) > 1][:1]
    chosen = [row for row in rows if row["question_id"] == twice[0]["question_id"]]
    chosen += [row for row in rows if row not in chosen][: ROWS - len(chosen)]
    for name in ("train", "test_visible"):
        (folder / f"{name}.json").write_text(json.dumps(chosen))
    return chosen


def expected_scores(data: Path, rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Score the files alone on these rows, each with the prediction for its id."""
    expected = {}
    for path in (data / "paper" / "completions_visible").glob("*.jsonl"):
        predictions = {row["question_id"]: row["prediction"] for row in read_jsonl(path)}
        values = score([predictions[row["question_id"]] for row in rows], [row["cmd"] for row in rows])
        expected[path.stem] = {"n": len(rows)} | {name: round(values[name], 2) for name in SCORES}
    return expected


def test_each_file_is_scored_in_its_own_cell(reference_data: Path, tmp_path: Path) -> None:
    rows = few_rows(reference_data, tmp_path)
    report = run_table(reference_data, tmp_path, tmp_path)
    last = list({row["question_id"]: row for row in rows}.values())
    assert scores_of(report) == expected_scores(reference_data, last)
    assert len(report["ablation"]) == 16
    said = f"1 of {ROWS} test rows share an id with a later row and are left out, as in the paper"
    assert any(note.startswith(said) for note in report["notes"])
    # What the answers were shown is not known, and not that it was too little.
    assert not any(note.startswith("Shown fewer") for note in report["notes"])
    assert [stage["stage"] for stage in report["stages"]] == ["answer", "judge"]
    assert {stage["failed"] for stage in report["stages"]} == {0}
    # The same run, with another table: each row counts, and nothing is said.
    report = run_table(reference_data, tmp_path, tmp_path, "report.repeated_ids=each")
    assert scores_of(report) == expected_scores(reference_data, rows)
    assert not any("share an id" in note for note in report["notes"])


@pytest.mark.marathon
def test_sixteen_files_give_the_papers_table(reference_data: Path, tmp_path: Path) -> None:
    expected = json.loads((reference_data / "paper" / "expected_visible_scores.json").read_text())
    report = run_table(reference_data, reference_data / "conala", tmp_path)
    assert scores_of(report) == expected
    said = "2 of 280 test rows share an id with a later row and are left out"
    assert any(note.startswith(said) for note in report["notes"])
