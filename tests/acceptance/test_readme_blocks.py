"""The first page: each of its five beginnings, pasted into a shell as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.test_table_one import few_rows
from tests.acceptance.test_tutorial import commands as tutorial_commands
from tests.openai_server.process import OpenAIServer
from tests.support.chores import read_jsonl
from tests.support.pages import README, section
from tests.support.pipeline import STARMILL, Home

BLOCKS = re.findall(
    r"^### \d\. .*?```bash\n(.*?)```", section(README, "Which of five are you?"), re.DOTALL | re.MULTILINE
)
PROMPT, STAR, OWN_TASK, GPUS, PAPER = BLOCKS
PATIENCE = 600
pytestmark = pytest.mark.timeout(PATIENCE)


def paste(block: str, folder: Path) -> Home:
    home = Home(folder / "home")
    environment = home.environment | {"PATH": f"{STARMILL.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-e"], input=block, cwd=folder, env=environment, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return home


def test_blocks_are_short() -> None:
    assert max(len(block.splitlines()) for block in BLOCKS) <= 13


def test_rows_and_a_prompt_become_rows_with_answers(tmp_path: Path) -> None:
    paste(PROMPT, tmp_path)
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert [list(row) for row in rows] == [["question", "level", "answer"]] * 2
    assert all(row["answer"] for row in rows)


def test_questions_and_answers_become_rationales(tmp_path: Path) -> None:
    home = paste(STAR, tmp_path)
    status = home.json("status")
    assert (status["state"], status["units"]["failed"]) == ("finished", 0)
    rows = home.export(status["run"], "synthetic")
    assert [row["reference"] for row in rows] == ["12", "7"]
    assert all(row["rationale"] for row in rows)


def test_own_task_is_the_tutorials() -> None:
    """The tutorial's own test runs its commands."""
    assert set(OWN_TASK.splitlines()) <= set(tutorial_commands())


def test_server_of_ones_own_is_asked(openai_server: OpenAIServer, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("question,level\nWhy?,low\n")
    paste(GPUS.replace("http://127.0.0.1:8000/v1", openai_server.url), tmp_path)
    [row] = read_jsonl(tmp_path / "out-gpu.jsonl")
    assert row["answer"]


def test_papers_outputs_become_its_table(reference_data: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "conala").mkdir(parents=True)
    (tmp_path / "data" / "paper").symlink_to(reference_data / "paper")
    few_rows(reference_data, tmp_path / "data" / "conala")
    paste(PAPER, tmp_path)
    assert r"\begin{tabular}" in (tmp_path / "table1.tex").read_text()
