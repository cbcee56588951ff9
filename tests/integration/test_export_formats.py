"""Forms of an export: JSONL, Parquet, a dataset with its card, a recording."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from models.core.types import Rejection, Request
from producer.corpus.attribution import Attribution, write_attributions
from storage.database import Database
from storage.jsonl import read_recording
from storage.ledger.runs import load_run
from storage.passages import index_path
from storage.schema import TEST, TRAIN
from tests.support.chores import read_jsonl
from tests.support.command_line import starmill
from tests.support.ledger_data import COST, answer, augmented, finish_train, plan_mixed


@pytest.mark.parametrize(
    "options",
    [["synthetic"], ["synthetic", "--style", "chat"], ["answers"], ["failures"]],
    ids=["synthetic", "chat", "answers", "failures"],
)
def test_parquet_holds_what_jsonl_holds(db: Database, options: list[str]) -> None:
    from pyarrow import parquet

    run = plan_mixed(db)
    run.reject(TRAIN, "augment", Rejection("null"), None)
    finish_train(run)
    run.finish(TEST, "answer", answer)
    for kind in ("jsonl", "parquet", "hf"):
        assert starmill("export", "small", "--format", kind, "-o", f"rows.{kind}", "--what", *options) == 0
    # Parquet's strings are UTF-8: the half of a surrogate pair becomes a question mark.
    expected = json.loads(json.dumps(read_jsonl(Path("rows.jsonl"))).replace("\\ud800", "?"))
    assert expected
    assert parquet.read_table("rows.parquet").to_pylist() == expected
    assert parquet.read_table("rows.hf/data/train-00000-of-00001.parquet").to_pylist() == expected


def test_a_dataset_card_says_what_it_is(db: Database) -> None:
    finish_train(plan_mixed(db))
    assert starmill("export", "small", "--format", "hf", "-o", "set") == 0
    header, body = Path("set/README.md").read_text(encoding="utf-8").split("---\n", 2)[1:]
    [config] = yaml.safe_load(header)["configs"]
    assert config["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    for text in ("- rows: 4", "- wrong: 2", "`teacher_1`", "The run was running", "`hint_leak` true"):
        assert text in body


def test_the_card_says_what_was_asked_and_paid_and_left_out(db: Database) -> None:
    run = plan_mixed(db)
    finish_train(run)
    options = ("--only", "accepted", "--split", "train=0.5,test=0.5", "--shuffle", "3")
    assert starmill("export", "small", "--format", "hf", *options, "-o", "set") == 0
    header, body = Path("set/README.md").read_text(encoding="utf-8").split("---\n", 2)[1:]
    [config] = yaml.safe_load(header)["configs"]
    assert [part["split"] for part in config["data_files"]] == ["train", "test"]
    for text in (
        "## Prompt", "[user]\ntrain ", f"${5 * COST / 1e9:.6f}", "shuffled with seed 3",
        "`train.jsonl` in `data`", "## Licence", "rationales that are not correct", version("starmill"),
    ):  # fmt: skip
        assert text in body


def test_a_dataset_card_repeats_whose_documentation_is_shown(db: Database, tmp_path: Path) -> None:
    plan_mixed(db)
    index = index_path(load_run(db, "small-1").experiment.passages, tmp_path / "home")
    index.mkdir(parents=True)
    write_attributions(
        index, [Attribution("python~3.9", "3.9", "© PSF. PSF License.", "https://docs.example")]
    )
    assert starmill("export", "small", "--format", "hf", "-o", "set") == 0
    card = Path("set/README.md").read_text(encoding="utf-8")
    assert "taken from:\n\n- python~3.9: © PSF. PSF License. https://docs.example\n" in card


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "hf"])
@pytest.mark.parametrize("what", ["synthetic", "answers", "failures"])
def test_export_without_rows_is_an_empty_file(
    db: Database, kind: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from pyarrow import parquet

    plan_mixed(db)
    assert starmill("export", "small", "--format", kind, "--what", what, "-o", "rows") == 0
    assert capsys.readouterr().err.splitlines()[:2] == [
        "wrote 0 rows to rows", "run small-1 has no rows of this kind, or none yet",
    ]  # fmt: skip
    if kind == "jsonl":
        assert Path("rows").read_bytes() == b""
    else:
        table = parquet.read_table("rows" if kind == "parquet" else "rows/data/train-00000-of-00001.parquet")
        assert table.num_rows == 0
        assert "question_id" in table.column_names


def test_parquet_without_pyarrow_names_the_extra(
    db: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan_mixed(db)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert starmill("export", "small", "--format", "parquet", "-o", "rows") == 2
    assert capsys.readouterr().err == ("starmill: Parquet needs pyarrow: pip install 'starmill[export]'\n")
    assert not Path("rows").exists()


def test_generations_are_a_recording(db: Database) -> None:
    """All that the run was answered, what it rejected included; and nothing of other runs."""
    plan_mixed(db, "other", seed=1).finish(TEST, "answer", answer)
    run = plan_mixed(db)
    run.reject(TRAIN, "augment", Rejection("null"), None)
    finish_train(run)
    assert starmill("export", "small-1", "--what", "generations", "-o", "recording.jsonl") == 0
    rows = read_jsonl(Path("recording.jsonl"))
    assert [row["stage"] for row in rows].count("augment") == 1 + 5
    assert {row["stage"] for row in rows} == {"augment", "rationale", "rationalize"}
    assert [row["key"] for row in rows] == sorted({row["key"] for row in rows})
    [rejected] = [row for row in rows if row["text"] is None]
    assert rejected == {
        "key": rejected["key"],
        "stage": "augment",
        "request": rejected["request"],
        "text": None,
        "finish_reason": "stop",
        "refusal": None,
        "usage": {"prompt": 100, "cached": 40, "completion": 20},
        "cost_usd": COST / 1e9,
    }
    recording = read_recording(Path("recording.jsonl"))
    for row in rows:
        request = Request.from_body(row["request"])
        assert recording.named(request).key == row["key"]
        assert recording.answer(request).text == row["text"]


def test_recording_splits_shared_calls_by_example(db: Database) -> None:
    run = plan_mixed(db, augment={"batch_size": 5})
    run.finish(TRAIN, "augment", lambda unit: "missing" if unit.example.row == 2 else augmented(unit))
    assert starmill("export", "small", "--what", "generations", "-o", "recording.jsonl") == 0
    given = [row for row in read_jsonl(Path("recording.jsonl")) if "request" not in row]
    sentence = "This requires sorting."
    assert [(row["question_id"], row["text"]) for row in given] == [
        ("q0", sentence), ("q1", sentence), ("q2", None), ("q3", sentence), ("q4", sentence),
    ]  # fmt: skip
    assert {(row["stage"], row["split"]) for row in given} == {("augment", "train")}


@pytest.mark.parametrize("kind", ["parquet", "hf"])
def test_generations_have_no_columns(db: Database, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    plan_mixed(db)
    assert starmill("export", "small", "--what", "generations", "--format", kind, "-o", "rows") == 2
    stderr = capsys.readouterr().err
    assert stderr == f"starmill: --format {kind} has no columns for generations: take --format jsonl\n"


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.csv.gz", "rows.tsv", "rows.xlsx"])
def test_an_ending_that_no_export_has_is_refused(
    name: str, db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    plan_mixed(db)
    assert starmill("export", "small", "-o", name) == 2
    assert "end it in .jsonl, .csv or .parquet, or give --format" in capsys.readouterr().err
    assert not Path(name).exists()
    assert starmill("export", "small", "-o", name, "--format", "jsonl", "--only", "accepted") == 0
    assert "has no rows that these options leave" in capsys.readouterr().err
