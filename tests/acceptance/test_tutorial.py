"""The tutorial of models/README.md: its commands, run one after the other as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.chores import read_jsonl
from tests.support.pages import PAGES, section
from tests.support.pipeline import STARMILL, Home

TUTORIAL = section(PAGES["models/README.md"], "Your own task")
# The embedded model takes its time where others compute as well.
PATIENCE = 600


def commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", TUTORIAL, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


@pytest.mark.timeout(1800)
def test_tutorial_commands_make_a_dataset(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    environment = home.environment | {"PATH": f"{STARMILL.parent}:{os.environ['PATH']}"}
    output = []
    assert len(commands()) == 8
    for written in commands():
        command = written.replace("RUN", home.json("status")["run"]) if " RUN " in written else written
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        # The smoke-test model may leave a row without an answer.
        allowed = (0, 1) if command.startswith("starmill run") else (0,)
        assert done.returncode in allowed, f"{command}: {done.stderr}"
        output.append(done.stdout)
    assert "units: 6 train and 3 test rows, 4 passages, 4 seeds" in output[1]
    assert "Accuracy" in output[2]
    assert "units: 7 train" in output[4]
    assert "2 passed" in output[5]
    rows = read_jsonl(tmp_path / "units.jsonl")
    assert rows
    assert all("The answer is" in row["rationale"] for row in rows)
