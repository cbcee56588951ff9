"""Whole runs without documentation, without students, and without a teacher: what is left out is not run, and
no command shows it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import write_jsonl
from tests.support.command_line import starmill
from tests.support.pipeline import Home

ROWS, TRAIN, TEST = 60, 36, 24
Say = Callable[..., str]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions with whole numbers as answers, in parquet."""
    from pyarrow import Table, parquet

    path = tmp_path_factory.mktemp("maths")
    rows = [
        {"question": f"Tom has {n} apples and buys {n % 7} more. How many are it?", "answer": n + n % 7,
         "level": ("easy", "hard")[n % 2]}
        for n in range(ROWS)
    ]  # fmt: skip
    parquet.write_table(Table.from_pylist(rows), path / "maths.parquet")
    known = [{"request": row["question"], "reference": f"{row['answer']}.0 apples"} for row in rows]
    write_jsonl(path / "references.jsonl", known)
    return path


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[OpenAIServer]:
    with running("--references", str(folder / "references.jsonl")) as started:
        yield started


@pytest.fixture(scope="module")
def home(folder: Path) -> Home:
    return Home(folder / "home")


def run(home: Home, server: OpenAIServer, name: str, **sections: Any) -> str:
    """Run an experiment on the questions with these sections, and return the name of its run."""
    config = {
        "name": name,
        "task": "qa",
        "data": {"path": "maths.parquet", "fields": {"request": "question", "reference": "answer"}},
        "models": {
            "teacher": {"backend": "openai", "model": "large", "base_url": server.url},
            "small": {"backend": "server", "model": "small", "base_url": server.url},
        },
    }
    path = home.path.parent / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config | sections))
    home.starmill("run", path, "--local")
    return str(home.json("status")["run"])


@pytest.fixture(scope="module")
def maths(home: Home, server: OpenAIServer) -> str:
    """The paper's rationales and grid on maths; a rationale is told the level of its question."""
    prompt = (
        "Level {{ level }}.\nQuestion: {{ request }}\n"
        "{% if hint is not none %}Say why the answer is {{ hint }}{% endif %}"
    )
    return run(
        home, server, "maths", split={"test": 0.4, "seed": 0}, students=["small"],
        prompts={"rationale": prompt}, rationale={"correctness": "number"},
        grid={"shots": [0, 2], "rationale": ["none", "star"]}, judge={"correctness": "number"},
        report={"by": "level"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def taught(home: Home, server: OpenAIServer) -> str:
    return run(home, server, "taught", rationale={"correctness": "number"})


@pytest.fixture(scope="module")
def examined(home: Home, server: OpenAIServer) -> str:
    models = {"small": {"backend": "server", "model": "small", "base_url": server.url}}
    return run(
        home, server, "examined", models=models, students=["small"], split={"test": 0.4, "seed": 0},
        judge={"correctness": "number"},
    )  # fmt: skip


@pytest.fixture(params=["maths", "taught", "examined"])
def any_run(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def stages(home: Home, run: str) -> dict[str, int]:
    report = json.loads(home.starmill("report", run, "--format", "json").stdout)
    return {f"{stage['split']} {stage['stage']}": stage["planned"] for stage in report["stages"]}


def test_only_what_is_there_is_planned(home: Home, maths: str, taught: str, examined: str) -> None:
    assert stages(home, maths) == {"train rationale": TRAIN, "train rationalize": TRAIN,
                                   "test answer": 3 * TEST, "test judge": 3 * TEST}  # fmt: skip
    assert stages(home, taught) == {"train rationale": ROWS, "train rationalize": ROWS}
    assert stages(home, examined) == {"test answer": 2 * TEST, "test judge": 2 * TEST}
    assert not (home.path / "indexes").exists()


def test_answers_are_right_by_their_number(home: Home, maths: str) -> None:
    """The server answers with the unit behind the number, and is right at first about every second time."""
    rows = home.export(maths, "synthetic")
    assert {row["correct"] for row in rows} == {True}
    assert {row["source"] for row in rows} == {"first_pass", "star"}
    report = json.loads(home.starmill("report", maths, "--format", "json").stdout)
    for cell in report["ablation"]:
        assert 0 < cell["scores"]["accuracy"]["value"] < 100
        assert cell["scores"]["exact_match"]["value"] == 0


def test_columns_of_the_data_are_in_prompts_and_exports(home: Home, maths: str) -> None:
    asked = [call["request"] for call in home.export(maths, "generations")]
    told = [request["messages"][-1]["content"] for request in asked if "messages" in request]
    assert sum(text.startswith(("Level easy.\nQ", "Level hard.\nQ")) for text in told) == len(told) > TRAIN
    rows = home.export(maths, "synthetic")
    assert {row["level"] for row in rows} == {"easy", "hard"}
    assert all("passages" not in {**row, **row["provenance"]} for row in rows)
    assert all("passages" not in {**row, **row["provenance"]} for row in home.export(maths, "answers"))


@pytest.fixture
def say(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command in this process, and return what it prints."""
    monkeypatch.setenv("STARMILL_HOME", str(home.path))

    def run_command(*words: object) -> str:
        assert starmill(*map(str, words)) == 0
        return capsys.readouterr().out

    return run_command


def test_report_has_no_empty_table(say: Say, any_run: str, tmp_path: Path) -> None:
    for format_ in ("markdown", "html", "latex", "csv", "json"):
        text = say("report", any_run, "--format", format_)
        assert "Documentation" not in text
        assert (any_run in text) != (format_ == "csv" and any_run.startswith("taught"))
        assert "<tbody>\n</tbody>" not in text
        tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
        assert min(map(len, tables), default=3) > 2
        assert len(tables) >= 4 or format_ != "markdown"
    command = [sys.executable, "-m", "producer.serve.report_tables", any_run, str(tmp_path / "page")]
    subprocess.run(command, check=True)
    assert "<tbody>\n</tbody>" not in (tmp_path / "page.part").read_text()


def test_every_command_shows_the_run(say: Say, any_run: str, tmp_path: Path) -> None:
    for number, options in enumerate(
        (["--format", "parquet"], ["--style", "chat"], ["--what", "failures"],
         ["--what", "answers", "--format", "hf"], ["--format", "hf"])
    ):  # fmt: skip
        say("export", any_run, *options, "-o", tmp_path / str(number))
    card = (tmp_path / "4" / "README.md").read_text()
    assert "Requests with a step-by-step rationale that ends in an answer" in card
    assert "documentation" not in card
    assert "Tom has" in say("show", any_run, "3")
    assert f"{any_run}: " in say("quality", any_run)
    assert re.search(r"finished ([\d,]+) of \1 rows, ([\d,]+) of \2 units", say("status", any_run))
    assert "The configurations are the same." in say("diff", any_run, any_run)


def test_report_has_a_table_by_level(say: Say, maths: str) -> None:
    _, of_train, of_test = say("report", maths).split("## By level, ")
    for of_split, rows in ((of_train, TRAIN), (of_test, TEST)):
        numbers = re.findall(r"^\| (?:easy|hard) \| (\d+) \|", of_split, re.MULTILINE)
        assert sum(map(int, numbers)) == rows


def test_runs_of_the_same_rows_are_compared(say: Say, maths: str, examined: str) -> None:
    shown = say("diff", examined, maths)
    assert "answer small/2-shot " in shown
    assert "only in B: rationale first pass" in shown


def test_second_run_asks_nothing(home: Home, server: OpenAIServer, maths: str) -> None:
    before = server.stats()["calls"]
    home.starmill("run", home.path.parent / "maths.yaml", "--local")
    assert server.stats()["calls"] == before
