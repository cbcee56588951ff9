"""Exports in splits and in another order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from storage.database import Database
from storage.schema import TRAIN
from tests.support.chores import read_jsonl
from tests.support.command_line import starmill
from tests.support.ledger_data import LedgerRun, augmented, example, plan_mixed, reasoned, retrieved


def plan_phrasings(db: Database, rows: int = 60) -> LedgerRun:
    """Three phrasings of each question, each with a rationale."""
    train = [example(row, question_id=f"{row // 3}-{row % 3}") for row in range(rows)]
    run = LedgerRun.plan(db, train, [])
    run.finish(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)
    run.finish(TRAIN, "rationale", lambda unit: reasoned(unit, correct=True))
    return run


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "hf"])
def test_no_question_is_in_two_splits(db: Database, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    from datasets import load_dataset

    plan_phrasings(db)
    options = ("--split", "train=0.7,validation=0.2,heldout=0.1", "--format", kind, "-o", "set")
    assert starmill("export", "small", *options) == 0
    stderr = capsys.readouterr().err.splitlines()
    folder = "json" if kind == "jsonl" else "parquet"
    names = ("train", "validation", "heldout")
    if kind == "hf":
        splits = load_dataset(str(Path("set").absolute()), cache_dir="cache")
    else:
        files = {name: str(Path(f"set/{name}.{kind}").absolute()) for name in names}
        splits = load_dataset(folder, data_files=files, cache_dir="cache")
    assert stderr[:2] == [
        "wrote 60 rows to set", ", ".join(f"{name} {splits[name].num_rows}" for name in names)
    ]  # fmt: skip
    questions = [{key.partition("-")[0] for key in splits[name]["question_id"]} for name in names]
    assert all(questions)
    assert [len(ids) for ids in questions] == [15, 4, 1]
    assert len(set().union(*questions)) == 20


def test_splits_and_order_are_of_their_seeds(db: Database) -> None:
    """The same seeds give the same files, in every run over the same rows; others give others."""
    plan_phrasings(db)
    for folder, seeds in {"a": "1 2", "b": "1 2", "c": "3 2", "d": "1 4"}.items():
        split, shuffle = seeds.split()
        options = ("--split", "train=0.5,test=0.5", "--split-seed", split, "--shuffle", shuffle)
        assert starmill("export", "small", *options, "-o", folder) == 0
    texts = {name: Path(name, "train.jsonl").read_bytes() for name in "abcd"}
    assert texts["a"] == texts["b"]
    rows = {name: read_jsonl(Path(f"{name}/train.jsonl")) for name in "acd"}
    assert {row["question_id"] for row in rows["a"]} != {row["question_id"] for row in rows["c"]}
    ordered = [[row["row"] for row in rows[name]] for name in "ad"]
    assert ordered[0] != ordered[1] != sorted(ordered[1]) != ordered[0]
    assert sorted(ordered[0]) == sorted(ordered[1])


def test_files_of_another_export_are_not_mixed_in(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    plan_phrasings(db, 6)
    assert starmill("export", "small", "--split", "train=0.5,test=0.5", "-o", "set") == 0
    before = Path("set/train.jsonl").read_bytes()
    assert starmill("export", "small", "--split", "train=0.5,dev=0.5", "-o", "set") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("starmill: -o set: holds test.jsonl, which")
    assert Path("set/train.jsonl").read_bytes() == before
    assert starmill("export", "small", "--split", "train=0.5,test=0.5", "-o", "set") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "train=0.9"], "shares sum to 0.9"),
        (["--split", "train=0.9,train=0.1"], "'train' is no name of its own"),
        (["--split", "train,test=1"], "train needs a share"),
        (["--split", "train=1.5,test=-0.5"], "the share of train is not between 0 and 1"),
        (["--split", "a/b=1"], "'a/b' is no name"),
        (["--split", "train=nan"], "the share of train is not between"),
        (["--split", "train=1", "--what", "generations"], "--split is for rows of examples"),
        (["--shuffle", "1", "--what", "generations"], "--shuffle is for rows of examples"),
    ],
)
def test_impossible_layout_is_refused(
    db: Database, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan_mixed(db)
    assert starmill("export", "small", *options, "-o", "rows") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert not Path("rows").exists()


def test_many_rows_are_shuffled_on_disk_as_few_are_in_memory(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from producer.results.export import splits as export_splits

    rows = [{"question_id": f"q{row % 7}", "row": row, "text": "\ud800"} for row in range(300)]
    few = list(export_splits.shuffled(rows, 5, tmp_path))
    monkeypatch.setattr(export_splits, "IN_MEMORY", 20)
    assert list(export_splits.shuffled(rows, 5, tmp_path)) == few != rows
    assert Counter(row["row"] for row in few) == Counter(range(300))
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
