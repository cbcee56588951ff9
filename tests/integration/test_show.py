"""The life of an example, told from a real ledger."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.core.types import Rejection
from producer.results.history_text import history_lines
from storage.database import Database
from storage.schema import TRAIN
from tests.support.command_line import starmill
from tests.support.ledger_data import (
    COST,
    HARD,
    augmented,
    finish_test,
    finish_train,
    plan_mixed,
    reasoned,
    retrieved,
)


def show(capsys: pytest.CaptureFixture[str], *question: str) -> dict[str, Any]:
    assert starmill("show", "small", *question, "--json") == 0
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


def test_a_rationalized_example_from_request_to_verdict(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    finish_train(plan_mixed(db))
    [row] = show(capsys, "q2")["rows"]
    assert (row["split"], row["row"], row["request"], row["calls"]) == ("train", 2, "sort 2", 3)
    assert row["cost_usd"] == pytest.approx(3 * COST / 1e9)
    augment, retrieve, first, second = row["units"]
    assert augment["result"]["query"] == "sort 2. This requires sorting."
    [passage] = retrieve["result"]["passages"]
    assert (passage["name"], passage["score"], passage["shown"], passage["oracle"]) == (
        "sorted",
        0.5,
        True,
        False,
    )
    assert first["verdicts"] == {"paper": False, "strict": False, "tree": False}
    assert second["verdicts"] == {"paper": True, "strict": True, "tree": True}
    assert second["call"]["prompt"] == "[user]\ntrain 2 ('rationalize', 'pass-1', 0)"


def test_rejected_answers_are_shown_with_their_reason(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    run = plan_mixed(db)
    run.reject(TRAIN, "augment", Rejection("null", "no content"), None)
    finish_train(run)
    assert starmill("show", "small", "q0") == 0
    printed = capsys.readouterr().out
    assert "rejected answer 1: null, no content: (null)" in printed
    assert "\x1b[" not in printed
    assert printed.startswith("3 rows have the id q0: train row 0, test row 0, test row 2\n")
    assert [line for line in printed.splitlines() if line.startswith("===")] == [
        "=== train row 0, question q0, run small-1 ===",
        "=== test row 0, question q0, run small-1 ===",
        "=== test row 2, question q0, run small-1 ===",
    ]


def test_students_are_shown_with_their_scores(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    run = plan_mixed(db)
    finish_train(run)
    finish_test(run)
    [_, row] = show(capsys, "q1")["rows"]
    judged = {unit["variant"]: unit for unit in row["units"] if unit["stage"] == "judge"}
    right, wrong = judged["pupil/0-shot"], judged["pupil/2-shot"]
    assert right["result"] == {"prediction": HARD, "exact_match": True}
    assert right["scores"]["bleu4"] == right["scores"]["exact_match"] == 100.0
    assert wrong["scores"]["exact_match"] == 0.0
    assert starmill("show", "small", "q1") == 0
    printed = capsys.readouterr().out
    assert "worked examples: train rows 1, 2" in printed
    assert "wrong by exact match; each rule: paper no" in printed


def test_every_line_can_be_shown_in_a_narrow_terminal(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    from io import StringIO

    from rich.console import Console

    run = plan_mixed(db)
    finish_train(run)
    finish_test(run)
    facts = show(capsys, "q1")
    out = Console(file=StringIO(), width=60, force_terminal=True, markup=False, emoji=False, highlight=False)
    for line in history_lines(facts, wrap=True):
        out.print(line)
    assert "\x1b[" in out.file.getvalue()  # type: ignore[attr-defined]
    plain = Console(file=StringIO(), width=60, no_color=True, markup=False, emoji=False, highlight=False)
    for line in history_lines(facts, wrap=True):
        plain.print(line)
    shown = plain.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, shown)) <= 60


def test_votes_are_shown(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    run = plan_mixed(db, rationale={"samples": 2})
    run.finish(TRAIN, "augment", augmented)
    run.finish(TRAIN, "retrieve", retrieved)

    def drawn(claimed: Any) -> Any:
        if claimed.variant == "sample":
            return reasoned(claimed, correct=True)
        return {"elected": 1, "votes": {"samples": 2, "winner": 2, "groups": 1}}

    run.finish(TRAIN, "rationale", drawn)
    run.finish(TRAIN, "rationale", drawn)
    assert starmill("show", "small", "q1") == 0
    printed = capsys.readouterr().out
    assert "votes: 2 of 2 samples agree; 1 different codes" in printed
    assert "rationalize pass-1: skipped, already_correct" in printed


def test_common_start_of_prompts_is_shown_once() -> None:
    call = {
        "model": "m", "params": {}, "prompt_tokens": 1, "completion_tokens": 1, "cost_usd": 0.0,
        "seconds": None, "bought_by": "r", "text": "x", "refusal": None, "finish_reason": "stop",
    }  # fmt: skip
    unit = {
        "stage": "augment", "variant": "", "sample": 0, "state": "done", "reason": None, "attempts": 1,
        "worker": None, "ended": None, "detail": None, "rejected": [], "judged": None,
    }  # fmt: skip
    head = "\n".join(f"line {number}" for number in range(8))
    prompts = {"a": f"{head}\nfirst", "b": f"{head}\nsecond", "c": f"{head}\nfirst", "d": "line 0\nother"}
    units = [unit | {"call": call | {"generation": key, "prompt": text}} for key, text in prompts.items()]
    row = {
        "split": "train",
        "row": 0,
        "request": "",
        "reference": "",
        "oracle": [],
        "columns": {},
        "calls": 4,
        "units": units,
    }
    facts = {
        "run": "r", "rule": "strict", "answer_rule": None, "question_id": "q", "has_id": True, "steps": [],
        "rows": [row | call],
    }  # fmt: skip
    shown = [str(line) for line in history_lines(facts, wrap=False)]
    assert [line for line in shown if "prompt" in line] == [
        "  prompt", "  prompt, after 8 lines as of a: second", "  prompt: the same as of a", "  prompt",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("q", "near ones: q0, q1, q2, q3, q4"),
        ("q11", "near ones: q1"),
        ("%", "`starmill export` writes all rows"),
    ],
)
def test_an_unknown_id_names_near_ones(
    db: Database, question: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan_mixed(db)
    assert starmill("show", "small", question) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"starmill: run small-1 has no question or row {question!r}; {message}")
