"""A standard stream that is closed, or that nobody reads on, is no error of a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.chores import write_jsonl

PROGRAM = "from producer.cli import main; main()"
ROW = {"question_id": 1, "rationale": "The answer is a", "prediction": "a", "reference": "a"}
COMMANDS = {
    "table": ["score", "rows.jsonl"],
    "lines": ["audit", "rows.jsonl", "--reference", "rows.jsonl"],
    "JSON": ["score", "rows.jsonl", "--json"],
    "help": ["--help"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "rows.jsonl", [ROW])
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_ends_is_no_error(command: str, folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *COMMANDS[command]], cwd=folder, stdout=writing,
        stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "<&-"])
def test_closed_streams_are_no_error(closed: str, folder: Path) -> None:
    arguments = " ".join(COMMANDS["table"])
    line = f"'{sys.executable}' -c '{PROGRAM}' {arguments} {closed}"
    ended = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert (b"rows.jsonl" in ended.stdout) == (">&-" not in closed.split())


def test_messages_that_nobody_reads_stop_no_work(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = (
        "from producer.safe_console import messages; messages().print('x'); messages().print('y'); print(1)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, stdout=subprocess.PIPE, stderr=writing, check=False
    )
    os.close(writing)
    assert (ended.returncode, ended.stdout) == (0, b"1\n")


@pytest.mark.parametrize("json_", [[], ["--json"]])
def test_letters_that_the_output_has_not_are_escaped(json_: list[str], folder: Path) -> None:
    write_jsonl(folder / "rows.jsonl", [ROW | {"question_id": "é", "rationale": "hint: é"}])
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, "audit", "rows.jsonl", "--reference", "rows.jsonl", *json_],
        cwd=folder, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.isascii()
    if json_:
        assert json.loads(ended.stdout)["leaks"] == ["é"]


def test_a_current_folder_that_was_deleted_is_said(folder: Path) -> None:
    line = f"mkdir gone && cd gone && rmdir ../gone && '{sys.executable}' -P -c '{PROGRAM}' runs"
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    ended = subprocess.run(["sh", "-c", line], cwd=folder, env=environment, capture_output=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.endswith(b": the current folder was deleted; go to another\n")
