"""`starmill index`: build, learn, search and evaluate, with the packaged encoder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import command_line, starmill

NAMES = ("copy", "delete", "rename", "list", "open", "close", "read", "write", "seek", "lock")


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Ten passages, and requests that ask for each of them twice."""
    passages = [{"id": f"files.{name}", "text": f"{name} a file of the disk."} for name in NAMES]
    rows = [
        {"id": f"{number}-{turn}", "request": f"{name} file 'x{turn}'", "reference": f"{name}()",
         "oracle": [f"files.{name}"]}
        for number, name in enumerate(NAMES)
        for turn in range(2)
    ]  # fmt: skip
    folder = tmp_path / "data"
    folder.mkdir()
    for file, lines in (
        ("docs", passages),
        ("train", rows),
        ("test", [*rows[::4], {**rows[0], "oracle": []}]),
    ):
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "e.yaml").write_text(
        "name: e\ndataset: {path: data, train: train.jsonl, test: test.jsonl}\n"
        "passages: {source: jsonl, path: data/docs.jsonl, method: learned, top_k: 2}\n"
        "teacher: embedded\nstudents: [embedded]\n"
    )
    with command_line(tmp_path, monkeypatch):
        yield "e.yaml"


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def test_from_build_to_evaluation(experiment: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert starmill("index", "build", experiment) == 0
    assert "it has learned from 20 train examples" in capsys.readouterr().err
    assert starmill("index", "build", experiment) == 0
    stderr = capsys.readouterr().err
    assert "0 newly encoded" in stderr
    assert "looking at" not in stderr
    assert starmill("index", "evaluate", experiment, "--method", "all", "--k", "1,2", "--json") == 0
    printed_ = printed(capsys)["methods"]
    assert set(printed_) == {"dense", "bm25", "fusion", "weighted", "learned"}
    assert {(each["n"], each["rows"]) for each in printed_.values()} == {(5, 6)}
    assert printed_["bm25"]["recall"] == {"1": 100.0, "2": 100.0}
    assert printed_["dense"]["docprompting"]["2"] >= printed_["dense"]["recall"]["2"] > 50
    assert starmill("index", "search", experiment, "rename file " + "word " * 10_000, "--json") == 0
    hits = printed(capsys)["hits"]
    assert len(hits) == 2
    assert {"dense", "bm25", "solved"} <= hits[0]["scores"].keys()


def test_evaluation_prints_a_table_and_refuses_bad_input(
    experiment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dense = ("--set", "passages.method=dense")
    assert starmill("index", "build", experiment, *dense) == 0
    capsys.readouterr()
    assert starmill("index", "evaluate", experiment, *dense) == 0
    assert "5 rows name right passages" in capsys.readouterr().out
    for arguments, message in (
        (("--method", "magic"), "--method magic: there is no such method"),
        (("--k", "0"), "--k 0: give whole numbers from 1"),
        (("--method", "learned"), "nothing was learned from this dataset yet"),
        (("--set", "dataset.fields.oracle=none"), "no row of the split names its right passages"),
    ):
        assert starmill("index", "evaluate", experiment, *dense, *arguments) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert message in line


def test_training_without_right_passages_is_refused(
    experiment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert starmill("index", "build", experiment, "--set", "dataset.fields.oracle=none") == 2
    assert "no train example names a passage of this index" in capsys.readouterr().err
