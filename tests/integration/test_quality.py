"""Filters on a run in a real ledger, on a dataset, and on what is exported."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from storage.database import Database
from storage.ledger.claims import ClaimedUnit
from storage.schema import TRAIN
from tests.support.command_line import starmill
from tests.support.experiment_files import MINIMAL
from tests.support.ledger_data import LedgerRun, augmented, example, reasoned, retrieved

# Train rows: a wrong one, then one with the same words that is right, a paraphrase of it, one of its own,
# and one that is in the test split.
WRONG, RIGHT, AGAIN, OTHER, TESTED = range(5)
REQUESTS = ["sort the list", "sort the list", "sort  the LIST", "open a file", "count words"]


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def rationale(unit: ClaimedUnit) -> dict[str, Any]:
    """The code is told apart by the row's request, so that copies have the same."""
    result = reasoned(unit, correct=unit.example.row != WRONG)
    return {**result, "text": "It does this. The answer is x()", "answer": "x()"}


def plan(db: Database, **sections: Any) -> LedgerRun:
    train = [example(row, request) for row, request in enumerate(REQUESTS)]
    test = [example(0, "Count words?", "len(words)", "t0"), example(1, "nothing", "nothing()", "t1")]
    run = LedgerRun.plan(db, train, test, rationale={"passes": 0}, **sections)
    run.finish(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)
    assert run.finish(TRAIN, "rationale", rationale) == 5
    return run


def test_quality_counts_filters_and_changes_no_row(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    plan(db)
    assert starmill("export", "small", "-o", "before.jsonl") == 0
    capsys.readouterr()
    assert starmill("quality", "small", "--json", "-o", "marks.jsonl") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rows"], report["right"], report["test_rows"], report["test_rows_repeated"]) == (
        5,
        4,
        2,
        1,
    )
    assert (report["heeded"], report["right_left"]) == ([], 4)
    counts = {name: (each["marked"], each["right_marked"]) for name, each in report["filters"].items()}
    # The wrong row is the copy, although it comes first in the dataset.
    assert counts["exact"] == (2, 1)
    assert counts["code"] == (4, 3)
    assert counts["contamination"] == (1, 1)
    assert counts["hint_leak"] == counts["agreement"] == counts["script"] == (0, 0)
    copies = report["filters"]["exact"]["examples"]
    assert [(copy["row"], copy["other_row"]) for copy in copies] == [(AGAIN, RIGHT), (WRONG, RIGHT)]
    [overlap] = report["filters"]["contamination"]["examples"]
    assert (overlap["row"], overlap["other_row"]) == (TESTED, 0)
    assert overlap["other"].startswith("Count words?")
    written = {line["row"]: set(line["marks"]) for line in lines("marks.jsonl")}
    assert {"exact", "code"} <= written[WRONG]
    assert written[TESTED] == {"code", "contamination"}
    assert RIGHT not in written
    assert starmill("export", "small", "-o", "after.jsonl") == 0
    assert Path("after.jsonl").read_bytes() == Path("before.jsonl").read_bytes()
    assert starmill("quality", "small", "--only", "accepted", "--filter", "exact") == 0
    printed = capsys.readouterr().out
    assert "row 2 (q2) the same text as an earlier row" in printed
    assert "no filter (set `quality` in the experiment): 4 rows are left" in printed


def exported(*arguments: str) -> list[int]:
    assert starmill("export", "small", "-o", "rows.jsonl", *arguments) == 0
    return [row["row"] for row in lines("rows.jsonl")]


def test_exports_leave_out_rows_that_filters_drop(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    plan(db, quality={"exact": True, "contamination": {"ngram": 8}})
    assert exported() == [WRONG, RIGHT, AGAIN, OTHER, TESTED]
    assert "left out" not in capsys.readouterr().err
    assert exported("--only", "accepted") == [RIGHT, OTHER]
    assert "left out 2 rows that filters mark: exact 1, contamination 1" in capsys.readouterr().err
    assert exported("--only", "accepted", "--filter", "none") == [RIGHT, AGAIN, OTHER, TESTED]
    assert exported("--only", "accepted", "--filter", "contamination") == [RIGHT, AGAIN, OTHER]
    assert exported("--filter", "exact") == [RIGHT, OTHER, TESTED]
    assert exported("--filter", "code,exact", "--style", "chat") == [RIGHT]
    card = ("export", "small", "--only", "accepted", "--format", "hf", "-o", "folder")
    assert starmill(*card) == 0
    page = Path("folder/README.md").read_text()
    assert "rows that filters marked, which may mark a row more than once: 2" in page
    assert "- contamination: 1 (a row that repeats a row of the test split)" in page


def test_quality_without_rows_says_so(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    run = plan(db)
    for arguments, says in (
        (("--filter", "exakt"), "--filter exakt: there is no such filter; take exact, code"),
        (("--what", "answers", "--filter", "exact"), "--filter is for synthetic data"),
    ):
        capsys.readouterr()
        assert starmill("export", run.run.id, "-o", "rows.jsonl", *arguments) == 2
        assert says in capsys.readouterr().err
        assert not Path("rows.jsonl").exists()


def test_quality_of_a_dataset_needs_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    rows = {
        "train": [
            ("sort it", "sorted(x)"),
            ("Sort  it", "sorted(x)"),
            ("order", "a if b else c"),
            ("wait", "w()"),
        ],
        "test": [("arrange", "( a if b else c )")],
    }
    for split, pairs in rows.items():
        text = "".join(json.dumps({"request": one, "reference": two}) + "\n" for one, two in pairs)
        Path(f"data/{split}.jsonl").write_text(text)
    Path("mine.yaml").write_text(json.dumps(MINIMAL))
    assert starmill("data", "quality", "mine.yaml", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["experiment"] == "mine"
    assert "hint_leak" not in report["filters"]
    assert {name: each["marked"] for name, each in report["filters"].items()} == {
        "exact": 1, "code": 1, "near": 0, "contamination": 1, "masked": 0, "length": 4, "script": 0,
    }  # fmt: skip
    assert report["filters"]["contamination"]["kinds"] == {"answer": 1}
    assert starmill("data", "quality", "mine.yaml", "--set", "quality.contamination.answers=false") == 0
    assert re.search(r"contamination +0 +yes", capsys.readouterr().out)
    assert starmill("data", "quality", "mine.yaml", "--filter", "hint_leak") == 2
    assert "--filter hint_leak: no teacher has written rows of a dataset" in capsys.readouterr().err


def test_rows_without_a_request_are_compared_by_all_of_their_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("question,level\nhow many legs,1\nhow many legs,1\nhow many legs,2\n")
    steps = {"explain": {"prompt": "Explain: {{ question }}"}}
    config = {"name": "own", "data": "rows.csv", "models": {"teacher": "embedded"}, "steps": steps}
    Path("own.yaml").write_text(json.dumps(config))
    assert starmill("data", "quality", "own.yaml", "--filter", "exact", "--json") == 0
    [found] = json.loads(capsys.readouterr().out)["filters"]["exact"]["examples"]
    assert (found["row"], found["request"]) == (1, "how many legs 1")
