"""Whole runs whose augmentations, or optional steps, are refused: no row is lost, and all formats tell it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import read_jsonl, write_data, write_experiment
from tests.support.pipeline import Home

TRAIN, TEST = 12, 4
# Some are refused at once, one is answered by no sentence until its budget is used up.
RULES: list[dict[str, Any]] = [
    {"match": r"(?s)what the request requires.*taught[35]`?\D[^\n]*$", "refuse": "no such topic"},
    {"match": r"(?s)what the request requires.*taught7`?\D[^\n]*$", "reply": "Certainly."},
    {"match": r"\ATell .*taught3", "refuse": "no such topic"},
]


@pytest.fixture(scope="module")
def refusing_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAIServer]:
    path = tmp_path_factory.mktemp("rules") / "rules.json"
    path.write_text(json.dumps(RULES))
    with running("--rules", str(path)) as server:
        yield server


def test_refused_augmentations_lose_no_row(tmp_path: Path, refusing_server: OpenAIServer) -> None:
    data = write_data(tmp_path / "data", TRAIN, TEST)
    experiment = write_experiment(
        data, refusing_server.url, augment={"enabled": True}, rationale={"passes": 0, "drop_wrong": False}
    )
    home = Home(tmp_path / "home")
    shown = home.starmill("run", experiment, "--local")
    status = home.json("status")
    assert (status["rows"]["finished"], status["rows"]["failed"], status["failures"]) == (TRAIN + TEST, 0, {})
    reasons = status["stand_ins"]["augment"]
    number = sum(reasons.values())
    assert number >= 2
    line = f"{number} requests stay as they were: their augmentation failed"
    assert line in shown.stdout
    rows = home.export(status["run"], "synthetic")
    assert len(rows) == TRAIN
    raw = [row for row in rows if row["query"] == row["request"]]
    assert (len(raw), {row["augmentation"] for row in raw}) == (number, {""})
    history = home.starmill("show", status["run"], "3").stdout
    assert "augment: done, bad_request" in history
    assert "augmentation: failed; the request stays as it is" in history
    assert "its row goes on" in home.starmill("failures", status["run"]).stdout
    assert_provenance(home, status["run"], experiment, line)

    # A retry tries them again; where they fail again, nothing that rests on them is paid again.
    calls = calls_by_stage(home, status["run"])
    assert f"{number:,} units will be tried again" in home.starmill("retry", status["run"]).stderr
    home.starmill("resume", status["run"], "--local")
    again = home.json("status")
    assert again["stand_ins"] == status["stand_ins"]
    assert without_origin(home.export(status["run"], "synthetic")) == without_origin(rows)
    assert calls_by_stage(home, status["run"]) == calls


def calls_by_stage(home: Home, run: str) -> dict[str, int]:
    """The calls that the run bought, but for those of augmentations."""
    report = json.loads(home.starmill("report", run, "--format", "json").stdout)
    spent = {each["stage"]: each["calls"] for each in report["spending"]}
    return {stage: number for stage, number in spent.items() if stage != "augment"}


def without_origin(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows less their calls: an answer that is no sentence is asked for anew."""
    return [{name: value for name, value in row.items() if name != "provenance"} for row in rows]


def assert_provenance(home: Home, run: str, experiment: Path, line: str) -> None:
    """Every format tells what went in, who answered, and the line that repeats it."""
    texts = {
        name: home.starmill("report", run, "--format", name).stdout
        for name in ("json", "csv", "latex", "markdown", "html")
    }
    document = json.loads(texts["json"])
    assert any(note.startswith(line) for note in document["notes"])
    origin = document["provenance"]
    assert origin["line"] == f"starmill run {experiment} --local"
    assert {each["served"] for each in origin["served"]} == {"large", "small"}
    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert {(row["repeat"], row["data_sha256"]) for row in rows} == {(origin["line"], origin["data"])}
    assert f"% Data, SHA-256: {origin['data']}\n" in texts["latex"]
    for text in texts.values():
        assert origin["configuration"] in text
        assert origin["passages"]["encoder"] in text


def test_row_goes_on_without_an_optional_step(tmp_path: Path, refusing_server: OpenAIServer) -> None:
    data = write_data(tmp_path / "data", TRAIN, TEST)
    teacher = {"backend": "openai", "model": "large", "base_url": refusing_server.url}
    steps = {
        "hint": {"prompt": "Tell {{ request }}", "optional": True},
        "answer": {"prompt": "Answer {{ request }}{% if hint %} by {{ hint }}{% endif %}"},
    }
    config = {"name": "hinted", "data": "train.jsonl", "models": {"teacher": teacher}, "steps": steps}
    path = data / "hinted.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    home = Home(tmp_path / "home")
    shown = home.starmill("run", path, "--local")
    assert "1 row goes on without hint, which failed (bad_request 1)" in shown.stdout
    run = home.json("status")["run"]
    out = tmp_path / "rows.jsonl"
    home.starmill("export", run, "-o", out)
    rows = read_jsonl(out)
    assert len(rows) == TRAIN
    assert [row["request"] for row in rows if row["hint"] is None] == [rows[3]["request"]]
    assert all(row["answer"] for row in rows)
    assert home.json("status")["rows"]["failed"] == 0
    home.starmill("retry", run)
    home.starmill("resume", run, "--local")
    assert home.json("status")["stand_ins"] == {"hint": {"bad_request": 1}}
