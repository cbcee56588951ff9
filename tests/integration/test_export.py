"""Exports of runs in a real ledger."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.rounds import SAMPLE
from models.types import Rejection, Request
from producer.documents.attribution import Attribution, write_attributions
from producer.export.lineage import prompt_sha256
from producer.report import build_report
from storage.database import Database
from storage.ledger.claims import Work
from storage.ledger.planning import load_run
from storage.ledger.rows import rows as finished_rows
from storage.passages.naming import index_path
from storage.recordings import read_recording
from storage.schema import TEST, TRAIN
from tests.command_line import command_line, starmill
from tests.ledger_data import (
    COST,
    HARD,
    LEAK,
    REFUSED,
    RIGHT,
    STAR,
    WRONG,
    LedgerRun,
    answer,
    augmented,
    example,
    finish_train,
    judged,
    plan_mixed,
    reasoned,
    retrieved,
)


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    with command_line(tmp_path, monkeypatch) as opened:
        yield opened


def words_of(place: str, row: dict[str, Any]) -> str:
    """What `LedgerRun` asks for the unit that a row names."""
    _, _, stage, variant, sample = row["provenance"]["unit"].split("/")
    return f"{place} {(stage, variant, int(sample))}"


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_bytes().splitlines()]


def test_a_voted_row_rests_on_all_samples(db: Database) -> None:
    run = plan_mixed(db, rationale={"samples": 3})
    run.finish(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)

    def drawn(work: Work) -> dict[str, Any] | str:
        if work.variant == SAMPLE:
            return "null" if work.sample == 0 else reasoned(work, correct=work.example.row == RIGHT)
        return {"elected": 1, "votes": {"samples": 2, "winner": 1, "groups": 2}}

    assert run.finish(TRAIN, "rationale", drawn) == 5 * 3
    assert run.finish(TRAIN, "rationale", drawn) == 5
    run.finish(TRAIN, "rationalize", lambda work: reasoned(work, correct=work.example.row == STAR))
    assert starmill("export", "small", "-o", "rows.jsonl") == 0
    rows = lines("rows.jsonl")
    assert [(row["row"], row["source"], row["pass"]) for row in rows[1:3]] == [
        (RIGHT, "first_pass", 0),
        (STAR, "star", 1),
    ]
    stored: dict[tuple[int, str, int], str | None] = {
        (unit.number, unit.variant, unit.sample): unit.generation
        for unit in finished_rows(db, run.run.id, stages=("augment", "rationale", "rationalize"))
    }
    assert stored[RIGHT, "", 0] == stored[RIGHT, SAMPLE, 2]
    for row, made in ((RIGHT, []), (STAR, [stored[STAR, "pass-1", 0]])):
        calls = rows[row]["provenance"]["generations"]
        assert calls[1:] == [stored[row, SAMPLE, 1], stored[row, SAMPLE, 2], *made]
        assert len(set(calls)) == len(calls)
        assert rows[row]["provenance"]["cost_usd"] == pytest.approx(len(calls) * COST / 1e9)
    found = build_report(db, run.run).statistics
    assert (found.rationales, found.first_pass_correct, found.accepted) == (5, 1, 2)
    assert found.failed == {"null": 5}


def test_each_right_rationale_is_a_row(db: Database) -> None:
    """Of rows 0 to 4: never right; right at once and twice more; wrong in between; once; at the end."""
    right = {RIGHT: {0, 1, 2}, STAR: {1, 3}, WRONG: {2}, REFUSED: {3}}
    run = plan_mixed(db, rationale={"passes": 3, "stop_at": 2})
    run.finish(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)
    ended = [
        run.finish(TRAIN, stage, lambda work, tried=tried: reasoned(
            work, correct=tried in right.get(work.example.row, ())))
        for tried, stage in enumerate(("rationale", "rationalize", "rationalize", "rationalize"))
    ]  # fmt: skip
    assert ended == [5, 5, 4, 4]
    assert starmill("export", "small", "--only", "accepted", "-o", "right.jsonl") == 0
    assert starmill("export", "small", "-o", "all.jsonl") == 0
    rows = lines("right.jsonl")
    assert [(row["row"], row["pass"], row["source"]) for row in rows] == [
        (RIGHT, 0, "first_pass"), (RIGHT, 1, "star"), (STAR, 1, "star"), (STAR, 3, "star"),
        (WRONG, 2, "star"), (REFUSED, 3, "star"),
    ]  # fmt: skip
    [wrong, *others] = lines("all.jsonl")
    assert (wrong["row"], wrong["pass"], wrong["source"], others) == (LEAK, 3, "wrong", rows)
    # The augmentation is named in every row, and paid for in the first of its example.
    assert [len(row["provenance"]["generations"]) for row in rows] == [2, 2, 3, 3, 4, 5]
    costs = [row["provenance"]["cost_usd"] for row in rows]
    assert costs == pytest.approx([calls * COST / 1e9 for calls in (2, 1, 3, 2, 4, 5)])
    found = build_report(db, run.run).statistics
    assert (found.first_pass_correct, found.accepted, found.still_wrong) == (1, 4, 1)
    assert [(each.tried, each.correct) for each in found.passes] == [(4, 1), (3, 1), (2, 1)]


def test_a_synthetic_row_tells_where_it_comes_from(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    run = plan_mixed(db)
    finish_train(run)
    assert starmill("export", "small", "-o", "rows.jsonl") == 0
    assert capsys.readouterr().err.splitlines()[0] == "wrote 4 rows to rows.jsonl"
    rows = lines("rows.jsonl")
    assert [(row["row"], row["source"], row["pass"], row["correct"], row["hint_leak"]) for row in rows] == [
        (LEAK, "wrong", 1, False, True),
        (RIGHT, "first_pass", 0, True, False),
        (STAR, "star", 1, True, False),
        (WRONG, "wrong", 1, False, False),
    ]
    star = rows[STAR]
    generations = star["provenance"].pop("generations")
    assert len(set(generations)) == 3
    asked = star["provenance"].pop("prompt_sha256")
    assert asked == prompt_sha256({"messages": [{"role": "user", "content": words_of("train 2", star)}]})
    assert star == {
        "prompt": "sort 2. This requires sorting.\n\nDocumentation:\n\nsorted(x)\nSort <it>.\n\n",
        "completion": "It sorts. The answer is answer(2)",
        "question_id": "q2",
        "row": 2,
        "request": "sort 2",
        "augmentation": "This requires sorting.",
        "query": "sort 2. This requires sorting.",
        "passages": [{"id": "p1", "name": "sorted", "score": 0.5}],
        "rationale": "It sorts. The answer is answer(2)",
        "answer": "answer(2)",
        "reference": "answer(2)",
        "correct": True,
        "source": "star",
        "hint_leak": False,
        "round": 1,
        "pass": 1,
        "provenance": {
            "run": "small-1",
            "experiment": "small",
            "teacher": "teacher_1",
            "unit": "train/2/rationalize/pass-1/0",
            "passages": ["p1"],
            "rule": "strict",
            "cost_usd": pytest.approx(3 * COST / 1e9),
            "starmill": version("starmill"),
        },
    }
    assert starmill("export", "small", "-o", "rows.jsonl", "--only", "accepted") == 0
    assert [row["row"] for row in lines("rows.jsonl")] == [RIGHT, STAR]


def test_rows_of_two_equal_runs_differ_in_the_run_alone(db: Database) -> None:
    for run_id in ("small-1", "small-2"):
        finish_train(plan_mixed(db, run_id))
        assert starmill("export", run_id, "-o", f"{run_id}.jsonl") == 0
    first, second = (Path(f"{name}.jsonl").read_text() for name in ("small-1", "small-2"))
    assert first != second
    assert first == second.replace('"run": "small-2"', '"run": "small-1"')


def test_a_call_that_augments_several_requests_is_paid_once(db: Database) -> None:
    run = plan_mixed(db, augment={"batch_size": 5})
    run.share_call(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)
    run.finish(TRAIN, "rationale", lambda work: reasoned(work, correct=True))
    assert starmill("export", "small", "-o", "rows.jsonl") == 0
    costs = [row["provenance"]["cost_usd"] for row in lines("rows.jsonl")]
    assert costs == pytest.approx([(1 + 1 / 5) * COST / 1e9] * 5)


def test_chat_rows_are_ready_for_fine_tuning(db: Database) -> None:
    run = plan_mixed(db)
    finish_train(run)
    assert starmill("export", "small", "-o", "chat.jsonl", "--style", "chat", "--only", "accepted") == 0
    first, _ = lines("chat.jsonl")
    assert first["messages"] == [
        {
            "role": "user",
            "content": "sort 1. This requires sorting.\n\nDocumentation:\n\nsorted(x)\nSort <it>.",
        },
        {"role": "assistant", "content": "It sorts. The answer is answer(1)"},
    ]
    assert (first["source"], first["provenance"]["run"]) == ("first_pass", "small-1")


def test_answers_carry_their_cell_and_verdict(db: Database) -> None:
    run = plan_mixed(db)
    finish_train(run)
    dropped = {"passages": 2, "exemplars": 1}
    run.finish(
        TEST,
        "answer",
        lambda work: answer(work) | ({"dropped": dropped} if work.variant.endswith("2-shot") else {}),
    )
    run.finish(TEST, "judge", lambda work: judged(work) if work.variant.endswith("0-shot") else None)
    assert starmill("export", "small", "--what", "answers", "-o", "answers.jsonl") == 0
    rows = lines("answers.jsonl")
    assert [(row["row"], row["variant"]) for row in rows] == [
        (row, variant)
        for row in range(3)
        for variant in ("pupil/0-shot", "pupil/2-shot", "pupil/2-shot/star")
    ]
    right, unjudged = rows[3], rows[4]
    assert right["prediction"] == right["text"] == right["reference"] == HARD
    assert (right["exact_match"], right["shots"], right["seed"]) == (True, 0, 0)
    assert (unjudged["prediction"], unjudged["exact_match"]) == (None, None)
    assert unjudged["exemplars"] == [1, 2]
    assert (unjudged["dropped"], right["dropped"]) == (dropped, {"passages": 0, "exemplars": 0})
    lineage = right["provenance"]
    assert (lineage["unit"], lineage["rule"]) == ("test/1/answer/pupil/0-shot/0", "strict")
    assert len(lineage["prompt_sha256"]) == len(lineage["generation"]) == 64


def test_failures_keep_what_was_rejected(db: Database) -> None:
    run = plan_mixed(db)
    run.reject(TRAIN, "augment", Rejection("null", "no content"), None)
    run.finish(TRAIN, "augment", lambda work: "refusal" if work.example.row == 0 else augmented(work))
    assert starmill("export", "small", "--what", "failures", "-o", "failures.jsonl") == 0
    [failure] = lines("failures.jsonl")
    assert (failure["stage"], failure["question_id"], failure["reason"], failure["detail"]) == (
        "augment", "q0", "refusal", "why",
    )  # fmt: skip
    assert failure["rejected"] == [{"reason": "null", "detail": "no content", "text": None}]


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
    expected = json.loads(json.dumps(lines("rows.jsonl")).replace("\\ud800", "?"))
    assert expected
    assert parquet.read_table("rows.parquet").to_pylist() == expected
    assert parquet.read_table("rows.hf/data/train-00000-of-00001.parquet").to_pylist() == expected


def test_a_dataset_card_says_what_it_is(db: Database) -> None:
    finish_train(plan_mixed(db))
    assert starmill("export", "small", "--format", "hf", "-o", "set") == 0
    header, body = Path("set/README.md").read_text(encoding="utf-8").split("---\n", 2)[1:]
    [config] = yaml.safe_load(header)["configs"]
    assert config["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    for said in ("- rows: 4", "- wrong: 2", "`teacher_1`", "The run was running", "`hint_leak` true"):
        assert said in body


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
def test_nothing_is_an_empty_file(
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


def test_rows_are_read_as_they_are_written(db: Database) -> None:
    """The first rows of a long run are there before the last are read."""
    from producer.export import Selection, select_rows

    run = LedgerRun.plan(db, [example(row) for row in range(240)], [])
    run.finish(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)
    run.finish(TRAIN, "rationale", lambda work: reasoned(work, correct=True))
    streamed = select_rows(db, run.run, Selection())
    first = [row["row"] for row in islice(streamed, 5)]
    with db.write() as connection:
        connection.exec_driver_sql("DELETE FROM unit WHERE stage = 'rationale' AND id > 800")
    rest = [row["row"] for row in streamed]
    assert first == [0, 1, 2, 3, 4]
    assert rest == list(range(5, 200))


def test_generations_are_a_recording(db: Database) -> None:
    """All that the run was answered, what it rejected included; and nothing of other runs."""
    plan_mixed(db, "other", seed=1).finish(TEST, "answer", answer)
    run = plan_mixed(db)
    run.reject(TRAIN, "augment", Rejection("null"), None)
    finish_train(run)
    assert starmill("export", "small-1", "--what", "generations", "-o", "recording.jsonl") == 0
    rows = lines("recording.jsonl")
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


def test_of_common_calls_the_recording_tells_what_each_was_given(db: Database) -> None:
    run = plan_mixed(db, augment={"batch_size": 5})
    run.finish(TRAIN, "augment", lambda work: "missing" if work.example.row == 2 else augmented(work))
    assert starmill("export", "small", "--what", "generations", "-o", "recording.jsonl") == 0
    given = [row for row in lines("recording.jsonl") if "request" not in row]
    sentence = "This requires sorting."
    assert [(row["question_id"], row["text"]) for row in given] == [
        ("q0", sentence), ("q1", sentence), ("q2", None), ("q3", sentence), ("q4", sentence),
    ]  # fmt: skip
    assert {(row["stage"], row["split"]) for row in given} == {("augment", "train")}


@pytest.mark.parametrize("kind", ["parquet", "hf"])
def test_generations_have_no_columns(db: Database, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    plan_mixed(db)
    assert starmill("export", "small", "--what", "generations", "--format", kind, "-o", "rows") == 2
    said = capsys.readouterr().err
    assert said == f"starmill: --format {kind} has no columns for generations: take --format jsonl\n"


def plan_phrasings(db: Database, rows: int = 60) -> LedgerRun:
    """Three phrasings of each question, each with a rationale."""
    train = [example(row, question_id=f"{row // 3}-{row % 3}") for row in range(rows)]
    run = LedgerRun.plan(db, train, [])
    run.finish(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)
    run.finish(TRAIN, "rationale", lambda work: reasoned(work, correct=True))
    return run


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "hf"])
def test_no_question_is_in_two_splits(db: Database, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    from datasets import load_dataset

    plan_phrasings(db)
    options = ("--split", "train=0.7,validation=0.2,heldout=0.1", "--format", kind, "-o", "set")
    assert starmill("export", "small", *options) == 0
    said = capsys.readouterr().err.splitlines()
    folder = "json" if kind == "jsonl" else "parquet"
    names = ("train", "validation", "heldout")
    if kind == "hf":
        splits = load_dataset(str(Path("set").absolute()), cache_dir="cache")
    else:
        files = {name: str(Path(f"set/{name}.{kind}").absolute()) for name in names}
        splits = load_dataset(folder, data_files=files, cache_dir="cache")
    assert said[:2] == [
        "wrote 60 rows to set", ", ".join(f"{name} {splits[name].num_rows}" for name in names)
    ]  # fmt: skip
    questions = [{key.partition("-")[0] for key in splits[name]["question_id"]} for name in names]
    assert all(questions)
    assert [len(found) for found in questions] == [14, 4, 2]
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
    rows = {name: lines(f"{name}/train.jsonl") for name in "acd"}
    assert {row["question_id"] for row in rows["a"]} != {row["question_id"] for row in rows["c"]}
    ordered = [[row["row"] for row in rows[name]] for name in "ad"]
    assert ordered[0] != ordered[1] != sorted(ordered[1]) != ordered[0]
    assert sorted(ordered[0]) == sorted(ordered[1])


def test_what_another_export_left_is_not_mixed_in(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    plan_phrasings(db, 6)
    assert starmill("export", "small", "--split", "train=0.5,test=0.5", "-o", "set") == 0
    before = Path("set/train.jsonl").read_bytes()
    assert starmill("export", "small", "--split", "train=0.5,dev=0.5", "-o", "set") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("starmill: -o set: holds test.jsonl, which")
    assert Path("set/train.jsonl").read_bytes() == before
    assert starmill("export", "small", "--split", "train=0.5,test=0.5", "-o", "set") == 0


@pytest.mark.parametrize(
    ("options", "said"),
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
def test_layouts_that_cannot_be(
    db: Database, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan_mixed(db)
    assert starmill("export", "small", *options, "-o", "rows") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert not Path("rows").exists()


def test_the_card_says_what_was_asked_and_paid_and_left_out(db: Database) -> None:
    run = plan_mixed(db)
    finish_train(run)
    options = ("--only", "accepted", "--split", "train=0.5,test=0.5", "--shuffle", "3")
    assert starmill("export", "small", "--format", "hf", *options, "-o", "set") == 0
    header, body = Path("set/README.md").read_text(encoding="utf-8").split("---\n", 2)[1:]
    [config] = yaml.safe_load(header)["configs"]
    assert [part["split"] for part in config["data_files"]] == ["train", "test"]
    for said in (
        "## Prompt", "[user]\ntrain ", f"${5 * COST / 1e9:.6f}", "shuffled with seed 3",
        "`train.jsonl` in `data`", "## Licence", "rationales that are not correct", version("starmill"),
    ):  # fmt: skip
        assert said in body


def test_many_rows_are_shuffled_on_disk_as_few_are_in_memory(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from producer.export import shuffling

    rows = [{"question_id": f"q{row % 7}", "row": row, "text": "\ud800"} for row in range(300)]
    few = list(shuffling.shuffled(rows, 5, tmp_path))
    monkeypatch.setattr(shuffling, "IN_MEMORY", 20)
    assert list(shuffling.shuffled(rows, 5, tmp_path)) == few != rows
    assert Counter(row["row"] for row in few) == Counter(range(300))
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
