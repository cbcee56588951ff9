"""Exported prompts are those that a model was asked, or those of the task folder's own template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from models.core.pipeline.rounds import SAMPLE
from storage.database import Database
from storage.ledger import runs
from storage.ledger.claims import ClaimedUnit
from storage.schema import GENERATIONS, TRAIN
from tests.support.chores import read_jsonl
from tests.support.command_line import starmill
from tests.support.ledger_data import (
    RIGHT,
    STAR,
    WRONG,
    augmented,
    experiment,
    finish_train,
    plan_mixed,
    reasoned,
    retrieved,
)
from tests.support.task_folders import conala

SYSTEM = conala().prompts.rationale.split("{% block system %}\n")[1].split("\n")[0]
ASKED = (
    "Query: sort 1. This requires sorting.\n\nExplain the code in one or two short sentences and end with "
    '"The answer is" and the code.'
)
TEMPLATE = """{% block system %}Be short.{% endblock %}
{% block user %}{% for passage in passages %}{{ passage.name }}: {% endfor %}{{ request }}?{% endblock %}
{% block assistant %}{{ answer }} because {{ rationale }}{% endblock %}"""


def task(export: str = "") -> dict[str, Any]:
    folder = conala().model_dump()
    return folder | {"prompts": folder["prompts"] | {"export": export}}


def exported(*options: str) -> list[dict[str, Any]]:
    assert starmill("export", "small", "-o", "rows.jsonl", *options) == 0
    return read_jsonl(Path("rows.jsonl"))


def test_messages_are_what_the_teacher_was_asked_without_documentation_and_hint(db: Database) -> None:
    finish_train(plan_mixed(db, task=task()))
    first, second = exported("--style", "chat", "--only", "accepted")
    assert first["messages"] == [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": "It sorts. The answer is answer(1)"},
    ]
    assert (second["source"], "int" in second["messages"][1]["content"]) == ("star", False)
    [raw, _] = exported("--only", "accepted")
    assert (raw["prompt"], raw["completion"]) == (f"{SYSTEM}\n\n{ASKED}\n\n", raw["rationale"])


def test_messages_show_documentation_and_seeds_if_wanted(db: Database) -> None:
    finish_train(plan_mixed(db, task=task()))
    seeds = [{"role": "user", "content": "Query: a"}, {"role": "assistant", "content": "b"}]
    messages = [{"role": "system", "content": "s"}, *seeds, {"role": "user", "content": "(Hint: answer(1))"}]
    with db.write() as connection:
        connection.execute(update(GENERATIONS).values(request={"messages": messages}))
    for options, shown in ((["passages"], []), (["seeds"], seeds), (["passages", "seeds"], seeds)):
        wanted = [word for part in options for word in ("--with", part)]
        row, _ = exported("--style", "chat", "--only", "accepted", *wanted)
        assert row["messages"][1:-2] == shown
        documents = "Documentation:\nsorted(x): Sort <it>.\n\n" if "passages" in options else ""
        assert row["messages"][-2] == {"role": "user", "content": documents + ASKED}


def test_the_template_export_makes_prompts_and_answers_of_its_own(db: Database) -> None:
    finish_train(plan_mixed(db, task=task(TEMPLATE)))
    row, _ = exported("--style", "chat", "--only", "accepted")
    assert row["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "sort 1. This requires sorting.?"},
        {"role": "assistant", "content": "answer(1) because It sorts. The answer is answer(1)"},
    ]
    row, _ = exported("--style", "chat", "--only", "accepted", "--with", "passages")
    assert row["messages"][1]["content"] == "sorted: sort 1. This requires sorting.?"


def test_another_template_makes_no_other_run_and_is_taken_by_this_one(db: Database) -> None:
    run = plan_mixed(db, task=task())
    finish_train(run)
    changed = experiment(task=task(TEMPLATE))
    assert runs.find_run(db, changed, run.run.dataset) == run.reload()
    runs.update_mutable(db, run.run, changed)
    assert exported("--style", "chat")[0]["messages"][0]["content"] == "Be short."


def test_pairs_are_a_right_and_a_wrong_rationale_of_one_request(db: Database) -> None:
    """Row 2 was wrong at first and right with a hint; the others have no right one or no wrong one."""
    finish_train(plan_mixed(db, task=task()))
    with db.write() as connection:
        connection.execute(update(GENERATIONS).values(reasoning="hm"))
    [pair] = exported("--what", "pairs", "--reasoning")
    provenance = pair.pop("provenance")
    assert provenance["unit"] == "train/2/rationalize/pass-1/0"
    assert pair == {
        "prompt": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": ASKED.replace("sort 1", "sort 2")},
        ],
        "chosen": [{"role": "assistant", "content": "It sorts. The answer is answer(2)"}],
        "rejected": [{"role": "assistant", "content": "It sorts. The answer is wrong()"}],
        "question_id": "q2", "row": STAR, "reference": "answer(2)", "source": "star",
        "rejected_source": "first_pass", "rejected_unit": "train/2/rationale//0",
        "reasoning": "hm", "rejected_reasoning": "hm",
    }  # fmt: skip


def test_a_wrong_sample_is_rejected_and_one_that_mentions_its_hint_is_not(db: Database) -> None:
    run = plan_mixed(db, rationale={"samples": 2, "passes": 2})
    run.finish(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)

    def drawn(unit: ClaimedUnit) -> dict[str, Any] | str:
        row = unit.example.row
        if unit.variant != SAMPLE:
            return {"elected": 0}
        if row not in (RIGHT, WRONG):
            return "null" if unit.sample else reasoned(unit, correct=False, hint_leak=True)
        return reasoned(unit, correct=row == RIGHT and unit.sample == 0)

    run.finish(TRAIN, "rationale", drawn)
    run.finish(TRAIN, "rationale", drawn)
    run.finish(TRAIN, "rationalize", lambda unit: reasoned(unit, correct=True))
    pairs = exported("--what", "pairs")
    assert [(pair["row"], pair["source"], pair["rejected_source"]) for pair in pairs] == [
        (RIGHT, "first_pass", "sample"), (WRONG, "star", "first_pass"),
    ]  # fmt: skip


def test_rows_for_training_load_in_datasets_and_pandas(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import pandas as pd

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    finish_train(plan_mixed(db, task=task()))
    for what, options in (("chat", ["--style", "chat"]), ("pairs", ["--what", "pairs"])):
        expected = exported(*options, "--shuffle", "1")
        for format_ in ("parquet", "hf"):
            assert starmill("export", "small", *options, "--shuffle", "1", "-o", f"{what}.{format_}",
                            "--format", format_) == 0  # fmt: skip
        loaded = datasets.load_dataset(f"{what}.hf", split="train", cache_dir="cache")
        assert loaded.to_list() == expected
        frame = pd.read_parquet(f"{what}.parquet")
        assert list(frame.columns) == list(expected[0])
        assert list(frame["row"]) == list(pd.read_json("rows.jsonl", lines=True)["row"])
    assert "chosen and a rejected answer" in Path("pairs.hf/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("export", "options", "why"),
    [
        (TEMPLATE, ["--with", "seeds"], "in the words of rationale.j2"),
        ("", ["--what", "answers", "--with", "passages"], "prompts of synthetic data"),
        ("", ["--what", "pairs", "--style", "chat"], "--style chat is for synthetic data"),
        ("", ["--public"], "--public goes with --push"),
    ],
)
def test_options_that_do_not_suit_training_rows(
    db: Database, export: str, options: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan_mixed(db, task=task(export))
    assert starmill("export", "small", "-o", "rows.jsonl", *options) == 2
    assert why in " ".join(capsys.readouterr().err.split())


def test_runs_of_releases_before_task_folders_show_the_request_alone(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    finish_train(plan_mixed(db))
    assert exported("--style", "chat")[0]["messages"][0] == {
        "role": "user", "content": "sort 0. This requires sorting.",
    }  # fmt: skip
    assert starmill("export", "small", "-o", "rows.jsonl", "--with", "passages") == 2
    assert "before task folders" in capsys.readouterr().err
