"""`starmill demo --replay`: the story that it tells, and the home that it leaves."""

from __future__ import annotations

import re
import shlex

import pytest

from producer.cli.demo import STAGES
from tests.support.pages import README
from tests.support.pipeline import Home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("demo") / "home")


@pytest.fixture(scope="module")
def printed(home: Home) -> tuple[str, str]:
    done = home.starmill("demo", "--replay", "--no-flower", seconds=240)
    return done.stdout, done.stderr


def test_every_stage_is_told_once_and_in_order(printed: tuple[str, str]) -> None:
    told = [line.split()[0] for line in printed[1].splitlines() if line.startswith(tuple(STAGES))]
    assert told == list(STAGES)
    right, of = map(int, re.search(r"(\d+) of (\d+) were right at the first try", printed[1]).groups())
    assert 0.1 <= right / of <= 0.4


def test_rows_show_what_helped(printed: tuple[str, str]) -> None:
    """Two hints repair a rationale, and a passage an answer; the table has a difference to see."""
    rows = re.findall(r"^  wrong: +(.+)\n  (hint|passage): +(.+)\n  right: +(.+)$", printed[0], re.MULTILINE)
    assert [helped for _, helped, _, _ in rows] == ["hint", "hint", "passage"]
    for wrong, helped, shown, right in rows:
        assert wrong != right
        code = shown if helped == "hint" else shown.partition(":")[0].rpartition(".")[2]
        assert code in right
    cells = re.findall(r"^\d-shot.*$", printed[0], re.MULTILINE)
    assert len(cells) == 8
    assert len({cell.partition("[")[0].split()[-1] for cell in cells}) >= 3


def test_commands_that_it_ends_with_work(home: Home, printed: tuple[str, str]) -> None:
    commands = [shlex.split(each)[1:] for each in re.findall(r"`(starmill [^`]+)`", printed[0])]
    assert [command[0] for command in commands] == ["report", "show", "export", "generate"]
    for command in commands[:-1]:
        home.starmill(*command)
    assert "<svg" in (home.path.parent / "demo.html").read_text()
    assert (home.path.parent / "synthetic.jsonl").read_text().count("\n") > 8
    status = home.json("status")
    assert (status["state"], status["failures"]) == ("finished", {})


def test_the_demo_again_shows_the_same_run(home: Home, printed: tuple[str, str]) -> None:
    again = home.starmill("demo", "--replay", "--no-flower", seconds=240)
    assert again.stdout == printed[0]
    assert len(home.json("runs")["runs"]) == 1


def test_first_page_shows_what_the_replay_gives(home: Home, printed: tuple[str, str]) -> None:
    run = home.json("status")["run"]
    report = home.starmill("report", run, "--format", "markdown").stdout.replace("*", "")
    cells = re.findall(r"^\| smollm2 \| (.+?) \| (\S+ \[.+?) \| (\S+ \[.+?) \|$", README, re.MULTILINE)
    assert len(cells) >= 4
    for cell, exact_match, bleu in cells:
        scores = f"{re.escape(bleu)} .*[|] {re.escape(exact_match)} "
        assert re.search(rf"^\| smollm2 \| {re.escape(cell)} \| 16 \| {scores}", report, re.MULTILINE), cell
