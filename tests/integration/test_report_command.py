"""The command that prints reports: its formats, what it refuses, and tables by a column."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.core.types import Example
from producer.results.report.build import build_report
from producer.results.report.formats import RENDERERS
from storage.database import Database
from tests.support.command_line import starmill
from tests.support.ledger_data import (
    LedgerRun,
    example,
    finish_test,
    finish_train,
    plan_mixed,
)


@pytest.mark.parametrize("stage", ["planned", "without examples", "finished"])
@pytest.mark.parametrize("name", RENDERERS)
def test_the_command_writes_every_format(
    db: Database, name: str, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if stage == "without examples":
        run = LedgerRun.plan(db, [], [])
    else:
        run = plan_mixed(db, teacher={"backend": "openai", "model": "<b>_模型 \\"})
    if stage == "finished":
        finish_train(run)
        finish_test(run)
    assert starmill("report", "small", "--format", name) == 0
    shown = capsys.readouterr().out
    assert shown == RENDERERS[name](build_report(db, run.run, page=name == "html"))
    assert "pupil" in shown
    assert starmill("report", "small-1", "--format", name, "-o", "report.txt") == 0
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "wrote report.txt\n")
    assert Path("report.txt").read_text(encoding="utf-8") == shown


def test_impossible_report_is_refused_in_one_line(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    plan_mixed(db)
    for arguments, message in (
        (["report", "small", "--format", "pdf"], "pdf"),
        (["report", "small", "-o", "no/report.md"], "there is no folder no; make it first"),
        (["export", "small", "-o", "no/rows.jsonl"], "there is no folder no; make it first"),
        (["export", "small"], "give -o PATH, or --push NAME"),
        (["export", "small", "-o", "x", "--what", "answers", "--only", "accepted"], "--only accepted is for"),
        (["export", "small", "-o", "x", "--what", "failures", "--style", "chat"], "--style chat is for"),
    ):
        assert starmill(*arguments) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert message in shown.err
        assert "Traceback" not in shown.err
    assert not Path("x").exists()


def test_right_rationales_and_answers_by_a_column_of_the_data(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    def levelled(row: int) -> Example:
        return replace(example(row), columns={"level": row % 2})

    run = LedgerRun.plan(
        db, [levelled(row) for row in range(5)], [levelled(row) for row in range(3)],
        dataset=None, data="rows.csv", report={"by": "level"},
    )  # fmt: skip
    finish_train(run)
    finish_test(run)
    train, test = build_report(db, run.run).groups
    assert [(group.value, group.rows) for group in train.groups] == [("0", 2), ("1", 2)]
    assert {name: [group.measures[name].mean for group in train.groups] for name in train.names} == {
        "first pass": [0.0, 50.0], "STaR": [50.0, 50.0]
    }  # fmt: skip
    assert {name: [group.measures[name].mean for group in test.groups] for name in test.names} == {
        "pupil/0-shot": [0.0, 100.0], "pupil/2-shot": [50.0, 0.0], "pupil/2-shot/star": [0.0, 0.0]
    }  # fmt: skip
    assert starmill("report", "small") == 0
    text = capsys.readouterr().out
    assert "## By level, train" in text
    assert "## By level, test" in text
