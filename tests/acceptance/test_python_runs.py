"""Experiments from Python and from the command line: planned, previewed, run, and read again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import starmill
import yaml

from models.core.errors import UsageError
from tests.openai_server.process import OpenAIServer
from tests.support.pages import PAGES
from tests.support.pipeline import Home

ROWS = [{"question": f"What is {number}?", "level": number % 2} for number in range(8)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("STARMILL_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


@pytest.fixture
def experiment(openai_server: OpenAIServer) -> dict[str, Any]:
    return {
        "name": "two",
        "data": ROWS,
        "models": {"teacher": {"backend": "openai", "model": "m", "base_url": openai_server.url}},
        "steps": {
            "draft": {"prompt": "Answer: {{ question }}"},
            "short": {"prompt": "Shorten, for {{ question }}: {{ draft }}", "when": "level == 1"},
        },
    }


def test_mapping_is_planned_previewed_and_run(
    home: Home, experiment: dict[str, Any], openai_server: OpenAIServer
) -> None:
    plan = starmill.plan(experiment)
    assert (plan.rows, plan.steps, plan.units, plan.run) == ({"train": 8}, {"draft": 8, "short": 8}, 16, None)
    assert str(plan) == "two: rows 8 train; 16 units: draft 8, short 8"
    shown = starmill.preview(experiment, 2)
    assert len(shown) == 2
    [first, second] = [[unit["call"] for unit in row["units"]] for row in shown]
    assert first[0]["prompt"].endswith("Answer: What is 0?")
    assert first[1] is None  # left out by its condition
    assert second[1]["prompt"].endswith(f"Shorten, for What is 1?: {second[0]['text']}")
    assert "What is 1?" in str(shown)
    assert openai_server.stats()["calls"] == 3
    rows = starmill.run(experiment)
    assert [list(row) for row in rows] == [["question", "level", "draft", "short"]] * 8
    assert [row["short"] is None for row in rows] == [row["level"] == 0 for row in ROWS]
    assert openai_server.stats()["calls"] == 12
    assert starmill.plan(experiment).run == rows.run
    assert list(starmill.results(rows.run[:-2])) == list(rows)
    with pytest.raises(UsageError, match="no run 'another'"):
        starmill.results("another")


def test_lines_of_the_page_run_as_they_stand(
    home: Home,
    experiment: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(home.path.parent)
    Path("explain.yaml").write_text(yaml.safe_dump({**experiment, "data": "rows.jsonl"}))
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    [lines] = re.findall(r"```python\n(.*?)```", PAGES["producer/README.md"], re.DOTALL)
    names: dict[str, Any] = {}
    exec(lines, names)
    assert "two: rows 8 train" in capsys.readouterr().out
    assert list(names["again"]) == list(names["out"])
    assert len(names["out"]) == len(ROWS)


def test_preview_prints_messages_and_answers_that_the_run_does_not_pay_again(
    home: Home, experiment: dict[str, Any], openai_server: OpenAIServer
) -> None:
    path = home.path.with_name("two.yaml")
    path.write_text(yaml.safe_dump({**experiment, "data": "rows.jsonl"}))
    home.path.with_name("rows.jsonl").write_text('{"question": "q one", "level": 1}\n{"question": "q two"}\n')
    previewed = home.starmill("preview", path, "-n", 1)
    printed = previewed.stdout
    assert "Answer: q one" in printed
    assert "q two" not in printed
    assert "2 answers already in the ledger, 1 to buy: about " in previewed.stderr
    assert len(home.json("preview", path, "-n", 1)["rows"]) == 1
    assert openai_server.stats()["calls"] == 2
    home.starmill("run", path, "--local")
    assert openai_server.stats()["calls"] == 3


def test_paused_run_says_why_and_how_to_go_on(home: Home, experiment: dict[str, Any]) -> None:
    del experiment["models"]["teacher"]["base_url"]
    with pytest.raises(UsageError, match=r"is paused: set OPENAI_API_KEY .*; the same call goes on with it$"):
        starmill.run(experiment)
