"""Status, histories, reports and comparisons of a pipeline of steps."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.core.types import Rejection
from producer.progress.status import read_status
from producer.runs import results
from producer.serve.pages import render, run_context
from producer.serve.snapshots import RunSnapshot
from storage.database import Database
from storage.ledger.counts import run_summaries
from tests.support.command_line import starmill
from tests.support.step_runs import COST, NOW, STEPS, StepRun, end_all, rows

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def run(db: Database) -> StepRun:
    opened = StepRun.plan(db, rows(5, level=lambda row: row % 2))
    opened.reject("draft", Rejection("empty", "no text"), "")
    end_all(opened)
    return opened


def printed(capsys: Printed, *arguments: str) -> str:
    assert starmill(*arguments) == 0
    return capsys.readouterr().out


def document(capsys: Printed, *arguments: str) -> Any:
    return json.loads(printed(capsys, *arguments, "--json"))


def test_status_counts_steps_in_their_order(run: StepRun, capsys: Printed) -> None:
    stages = document(capsys, "status", "steps")["stages"]
    assert list(stages) == ["draft", "critique", "best", "revise"]
    # What a condition leaves out is skipped, like what a failure leaves out; neither has failed.
    assert [(each["done"], each["skipped"], each["failed"]) for each in stages.values()] == [
        (7, 0, 3), (7, 3, 0), (4, 0, 1), (2, 3, 0)
    ]  # fmt: skip
    words = printed(capsys, "status", "steps")
    assert "finished 4 of 5 rows, 1 failed, " in words
    for label in ("draft (answers)", "critique (verdicts)", "best (choices)", "revise (answers)"):
        assert label in words


def test_dataset_has_the_columns_of_all_rows_whatever_their_types(db: Database) -> None:
    pytest.importorskip("datasets")
    given = [{"question": "a", "n": 1}, {"question": "b", "n": "one", "late": 5, "list": [1, None, "x"]}]
    StepRun.plan(db, [replace(each, columns=given[each.row]) for each in rows(2)])
    dataset = results("steps").to_dataset()
    assert [{name: row[name] for name in ("question", "n", "late", "list")} for row in dataset] == [
        {"question": "a", "n": 1, "late": None, "list": None}, given[1],
    ]  # fmt: skip


def test_rows_are_counted_alike_wherever_they_are_shown(
    run: StepRun, capsys: Printed, tmp_path: Path
) -> None:
    rows_of = document(capsys, "status", "steps")["rows"]
    assert rows_of == {"planned": 5, "finished": 4, "failed": 1, "open": 0}
    report = json.loads(printed(capsys, "report", "steps", "--format", "json"))["rows"]
    assert (report["total"], report["done"], report["failed"]) == (5, 4, 1)
    # The run has not ended for the feeder, so its export says how far it is.
    assert starmill("export", "steps", "-o", str(tmp_path / "out.jsonl")) == 0
    assert "run steps-1 is running: finished 4 of 5 rows, 1 failed so far" in capsys.readouterr().err
    status = read_status(run.db, run.reload(), NOW)
    summary = next(each for each in run_summaries(run.db) if each.id == "steps-1")
    page = render("_run.html", **run_context(RunSnapshot(summary, status, NOW, 0.1, 0.0)), tables=None)
    assert re.search(r"Rows finished</dt><dd>4<small>of 5, 1 failed</small>", page)


def test_a_row_is_shown_step_by_step(run: StepRun, capsys: Printed) -> None:
    [row] = document(capsys, "show", "steps", "0")["rows"]
    assert row["columns"] == {"question": "why 0", "level": 0}
    assert [(unit["stage"], unit["sample"], unit["state"]) for unit in row["units"]] == [
        ("draft", 0, "done"), ("draft", 1, "done"), ("critique", 0, "done"), ("critique", 1, "done"),
        ("best", 0, "done"), ("revise", 0, "done"),
    ]  # fmt: skip
    # Two drafts, one that was rejected, two critiques and a revision.
    assert (row["calls"], row["cost_usd"]) == (6, pytest.approx(6 * COST / 1e9))
    text = printed(capsys, "show", "steps", "0")
    assert text.startswith("=== train row 0, run steps-1 ===\n  question: why 0\n  level: 0\n")
    assert "rejected answer 1: empty, no text" in text
    assert "[user]\n    critique train 0\n" in text
    assert "critique, sample 1: done" in text
    assert "  score: 4\n  reason: so\n" in text
    assert "  value: draft 1 of 0\n  score: 4\n  accepted: true\n  rejected: draft 0 of 0\n" in text


def test_a_row_says_why_a_step_was_skipped(run: StepRun, capsys: Printed) -> None:
    text = printed(capsys, "show", "steps", "1")
    assert "revise: skipped, when" in text
    assert "  detail: best.score < 5\n" in text
    assert "critique, sample 1: skipped, upstream_failed" in printed(capsys, "show", "steps", "4")


def test_a_report_counts_rows_steps_and_verdicts(run: StepRun, capsys: Printed) -> None:
    report = json.loads(printed(capsys, "report", "steps", "--format", "json", "--by", "level"))
    assert report["rows"] == {"total": 5, "done": 4, "failed": 1, "accepted": 3}
    draft, critique, best, _ = report["steps"]
    assert (draft["planned"], draft["failed"], draft["calls"], draft["rejected"]) == (10, 3, 8, {"empty": 1})
    assert draft["cost_usd"] == pytest.approx(8 * COST / 1e9)
    assert critique["measures"]["score"]["value"] == pytest.approx(22 / 7)
    assert critique["measures"]["score"]["distribution"] == {"1": 1, "2": 1, "3": 2, "4": 2, "5": 1}
    assert best["measures"]["right"]["value"] == 75.0
    [table] = report["by"]
    assert [(group["value"], group["rows"]) for group in table["groups"]] == [("0", 3), ("1", 2)]
    assert [group["measures"]["best, right"]["value"] for group in table["groups"]] == [50.0, 100.0]


@pytest.mark.parametrize("format_", ["markdown", "latex", "html", "csv"])
def test_every_format_shows_the_steps(run: StepRun, capsys: Printed, format_: str) -> None:
    text = printed(capsys, "report", "steps", "--format", format_, "--by", "level")
    assert "critique" in text
    assert ("By level" in text) == (format_ != "csv")


def test_csv_has_a_line_for_each_measure_of_a_group(run: StepRun, capsys: Printed) -> None:
    lines = csv.DictReader(
        printed(capsys, "report", "steps", "--format", "csv", "--by", "level").splitlines()
    )
    groups = [line for line in lines if line["kind"] == "group" and line["measure"] == "best, right"]
    assert [(line["by"], line["value"], line["rows"], line["mean"]) for line in groups] == [
        ("level", "0", "3", "50.0"),
        ("level", "1", "2", "100.0"),
    ]


def test_the_experiment_names_the_columns_of_its_report(db: Database, capsys: Printed) -> None:
    end_all(StepRun.plan(db, rows(5, level=lambda row: row % 2), report={"by": ["level", "gone"]}))
    text = printed(capsys, "report", "steps")
    assert "## By level" in text
    assert "There is no table by gone, which no row has." in text


def test_a_column_that_is_not_there_is_named(run: StepRun, capsys: Printed) -> None:
    assert starmill("report", "steps", "--by", "levle") == 2
    assert "--by levle: no row has this column; did you mean level?" in capsys.readouterr().err


def test_two_runs_differ_in_keys_units_and_scores(run: StepRun, capsys: Printed) -> None:
    steps = {**STEPS, "best": {**STEPS["best"], "least": 4}}
    other = StepRun.plan(run.db, rows(5, level=lambda row: row % 2), run_id="other-1", steps=steps)
    end_all(other, {0: (3, 5), 1: (1, 4), 2: (1, 2), 3: (3, 3)})
    difference = document(capsys, "diff", "steps", "other")
    assert difference["configuration"] == {"steps.best.least": [3.0, 4.0]}
    assert difference["warnings"] == [
        "rules differ, so that equal answers may have other verdicts: steps.best.least is 3.0 in A, 4.0 in B"
    ]
    changes = {(each["step"], each["measure"]): each for each in difference["steps"]}
    score = changes["critique", "score"]
    assert (score["n"], score["fell"], score["rose"]) == (4, 1, 1)
    assert score["rose_examples"] == [
        {"split": "train", "row": 0, "question_id": "0", "before": 3.5, "after": 4.0}
    ]
    # Row 3 was accepted with a score of 3.
    right = changes["best", "right"]
    assert (right["before"], right["after"], right["fell"], right["rose"]) == (0.75, 0.5, 1, 0)
    effect = right["difference"]
    assert (effect["value"], effect["p_value"], effect["enough_rows"]) == (-25, 1, False)
    assert effect["low"] < -25 < effect["high"]
    assert difference["units"]["second"]["draft"] == {"done": 7, "failed": 3}
    text = printed(capsys, "diff", "steps", "other")
    assert "best, right: fell, 1 of 1" in text
    assert "steps.best.least" in text


def test_filters_of_quality_look_at_the_last_text(run: StepRun, capsys: Printed) -> None:
    found = document(capsys, "quality", "steps")
    # Rows 0 and 3 were revised alike, row 1 has its best draft, row 2 its last one, and row 4 nothing.
    assert (found["rows"], found["right"]) == (4, 3)
    assert list(found["filters"]) == ["exact", "near", "length", "script"]
    [example] = found["filters"]["exact"]["examples"]
    assert (example["row"], example["text"], example["other_row"]) == (3, "better", 0)
    assert "4 rows with a text, 3 of them accepted" in printed(capsys, "quality", "steps")
    assert starmill("quality", "steps", "--filter", "contamination") == 2
    assert "take exact, near, length, script" in " ".join(capsys.readouterr().err.split())


def test_names_of_columns_are_shown_as_they_are(db: Database, capsys: Printed) -> None:
    names = ("<i>", "级", "别")
    end_all(StepRun.plan(db, rows(5, **{name: lambda row: "<b>" for name in names})))
    options = [word for name in names for word in ("--by", name)]
    page = printed(capsys, "report", "steps", "--format", "html", *options)
    assert "<title>steps: steps-1</title>" in page
    assert "<h2>By &lt;i&gt;</h2>" in page
    assert ("<i>" in page, "<b>" in page) == (False, False)
    ids = re.findall(r'<section id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert "## By \\<i\\>" in printed(capsys, "report", "steps", *options)


def test_the_page_shows_accepted_and_rejected_rows(run: StepRun, capsys: Printed) -> None:
    page = printed(capsys, "report", "steps", "--format", "html")
    [section] = re.findall(r'<section id="synthetic-rows">.*?</section>', page, re.DOTALL)
    accepted, rejected = section.split("<h3>Rejected</h3>")
    assert (accepted.count("<details"), rejected.count("<details")) == (3, 2)
    assert {"level", "+draft 0", "+best"} <= set(re.findall(r"<h4>(.*?)</h4>", accepted))
