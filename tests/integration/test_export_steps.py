"""The rows of a pipeline of steps, as `starmill export` writes them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from sqlalchemy import update

from storage.database import Database
from storage.schema import GENERATIONS
from tests.support.chores import read_jsonl
from tests.support.command_line import starmill
from tests.support.step_runs import StepRun, end_all, rows

LEVELS = {"level": lambda row: row if row else None, "draft_text": lambda row: "mine", "meta": lambda row: {}}


def exported(path: Path, *options: str) -> list[dict[str, Any]]:
    assert starmill("export", "steps", "-o", str(path), *options) == 0
    return read_jsonl(path)


@pytest.fixture
def run(db: Database) -> StepRun:
    opened = StepRun.plan(db, rows(4, **LEVELS), rows(1, level=lambda row: 4))
    end_all(opened)
    return opened


def test_rows_have_the_columns_of_the_data_and_one_for_each_step(db: Database, tmp_path: Path) -> None:
    opened = StepRun.plan(db, rows(5, **LEVELS))
    end_all(opened)
    written = exported(tmp_path / "rows.jsonl")
    assert [list(row) for row in written] == 5 * [
        ["question", "level", "draft_text", "meta", "draft", "critique", "best", "best_score", "revise"]
    ]
    assert [row["question"] for row in written] == [f"why {number}" for number in range(5)]
    assert written[0] == {
        "question": "why 0", "level": None, "draft_text": "mine", "meta": {},
        "draft": ["draft 0 of 0", "draft 1 of 0"],
        "critique": [{"score": 3, "reason": "so"}, {"score": 4, "reason": "so"}],
        "best": "draft 1 of 0", "best_score": 4, "revise": "better",
    }  # fmt: skip
    assert [row["draft"] for row in written[3:]] == [[None, "draft 1 of 3"], [None, None]]
    assert [(row["best"], row["best_score"], row["revise"]) for row in written[1:]] == [
        ("draft 0 of 1", 5, None), (None, 2, None), ("draft 1 of 3", 3, "better"), (None, None, None),
    ]  # fmt: skip


def test_rows_of_two_splits_name_their_split(run: StepRun, tmp_path: Path) -> None:
    assert [row["split"] for row in exported(tmp_path / "rows.jsonl")] == [*4 * ["train"], "test"]


def test_only_rows_that_the_last_judge_or_vote_accepts(run: StepRun, tmp_path: Path) -> None:
    accepted = exported(tmp_path / "rows.jsonl", "--only", "accepted")
    assert [row["question"] for row in accepted] == ["why 0", "why 1", "why 3", "why 0"]


def test_answers_and_code_come_with_the_text_around_them(db: Database, tmp_path: Path) -> None:
    steps = {
        "answer": {"prompt": "{{ question }}", "output": "answer", "samples": 2},
        "best": {"of": "answer", "by": "majority"},
    }
    opened = StepRun.plan(db, rows(1), steps=steps)
    opened.end("answer", lambda unit: {"value": "4", "text": f"So {unit.sample}. The answer is 4."})
    opened.end("best", lambda unit: {"value": "4", "agreement": 1.0, "accepted": True})
    assert exported(tmp_path / "rows.jsonl") == [
        {
            "question": "why 0", "answer": ["4", "4"],
            "answer_text": ["So 0. The answer is 4.", "So 1. The answer is 4."],
            "best": "4", "best_agreement": 1.0,
        }
    ]  # fmt: skip


def test_the_ending_of_the_file_names_the_format(run: StepRun, tmp_path: Path) -> None:
    expected = exported(tmp_path / "rows.jsonl")
    assert starmill("export", "steps", "-o", str(tmp_path / "rows.csv")) == 0
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert [list(row) for row in cells] == 5 * [list(expected[0])]
    assert json.loads(cells[0]["critique"]) == expected[0]["critique"]
    assert (cells[0]["level"], cells[1]["level"], cells[4]["draft_text"]) == ("", "1", "")
    assert starmill("export", "steps", "-o", str(tmp_path / "rows.parquet")) == 0
    table = parquet.read_table(tmp_path / "rows.parquet")
    assert [str(table.schema.field(name).type) for name in ("level", "draft", "best_score", "meta")] == [
        "int64", "list<element: string>", "int64", "string",
    ]  # fmt: skip
    missing = {"draft_text": None, "meta": None}
    assert table.to_pylist() == [
        {**missing, **row} | ({"meta": "{}"} if "meta" in row else {}) for row in expected
    ]


def test_pairs_are_what_preference_training_reads(run: StepRun, tmp_path: Path) -> None:
    first, second, *_ = pairs = exported(tmp_path / "pairs.jsonl", "--what", "pairs")
    assert first == {
        "prompt": [{"role": "user", "content": "draft train 0"}],
        "chosen": [{"role": "assistant", "content": "draft 1 of 0"}],
        "rejected": [{"role": "assistant", "content": "draft 0 of 0"}],
        "score_chosen": 4, "score_rejected": 3, "question": "why 0", "level": None, "draft_text": "mine",
        "meta": {},
    }  # fmt: skip
    # The best draft of row 2 is not accepted, and row 3 has only one.
    assert [(pair["question"], pair["score_chosen"]) for pair in pairs[1:]] == [("why 1", 5), ("why 0", 4)]
    assert second["chosen"][0]["content"] == "draft 0 of 1"


def test_pairs_of_samples_that_a_judge_calls_right_or_wrong(db: Database, tmp_path: Path) -> None:
    steps = {
        "answer": {"prompt": "{{ question }}", "output": "answer", "samples": 3},
        "check": {"of": "answer", "rule": "number"},
    }
    opened = StepRun.plan(db, rows(3), steps=steps)
    opened.end("answer", lambda unit: {"value": str(unit.sample), "text": f"It is {unit.sample}."})
    # The first is right in row 1; none is wrong in row 2.
    opened.end(
        "check", lambda unit: {"value": {"correct": unit.example.row == 2 or unit.sample == unit.example.row}}
    )
    with db.write() as connection:
        connection.execute(update(GENERATIONS).values(reasoning="hm"))
    first, second = exported(tmp_path / "pairs.jsonl", "--what", "pairs", "--reasoning")
    assert first == {
        "prompt": [{"role": "user", "content": "answer train 0"}],
        "chosen": [{"role": "assistant", "content": "It is 0."}],
        "rejected": [{"role": "assistant", "content": "It is 1."}],
        "score_chosen": 1, "score_rejected": 0, "reasoning": "hm", "rejected_reasoning": "hm",
        "question": "why 0",
    }  # fmt: skip
    assert [second[side][0]["content"] for side in ("chosen", "rejected")] == ["It is 1.", "It is 0."]


def test_steps_that_rank_nothing_have_no_pairs(
    db: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    StepRun.plan(db, rows(1), steps={"draft": {"prompt": "{{ question }}"}})
    assert starmill("export", "steps", "--what", "pairs", "-o", str(tmp_path / "pairs")) == 2
    assert "none of its steps is a vote by a score" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["rows", "pairs"])
def test_a_folder_with_a_card_is_loaded_by_datasets(
    run: StepRun, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    expected = exported(tmp_path / "rows.jsonl", "--what", what)
    folder = tmp_path / "set"
    assert starmill("export", "steps", "--what", what, "--format", "hf", "-o", str(folder)) == 0
    loaded = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == len(expected)
    assert set(loaded.column_names) == {name for row in expected for name in row}
    card = (folder / "README.md").read_text(encoding="utf-8")
    for text in (f"# steps: {what}", "- rows: `rows.csv`", "- step `draft`: generate, asks `writer`"):
        assert text in card


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--what", "synthetic"], "it has rows, pairs, failures, generations"),
        (["--with", "passages"], "prompts of synthetic data"),
        (["--shuffle", "1"], "leave it out for --what rows"),
        (["--style", "chat"], "is for synthetic data"),
        (["--what", "pairs", "--only", "accepted"], "is for synthetic data and rows"),
    ],
)
def test_options_that_do_not_suit(
    run: StepRun, tmp_path: Path, options: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert starmill("export", "steps", "-o", str(tmp_path / "rows"), *options) == 2
    assert why in " ".join(capsys.readouterr().err.split())
