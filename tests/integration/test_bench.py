"""`make bench`, small: the table and the numbers come out, and they are those of calls that were made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.openai_server.process import REPOSITORY
from tests.support.pipeline import PATIENCE

CALLS = 24


def test_a_quick_measurement(tmp_path: Path) -> None:
    output, table = tmp_path / "numbers.json", tmp_path / "table.md"
    command = [sys.executable, "-m", "tests.bench", "--quick", "base", "--calls", str(CALLS)]
    command += ["--output", str(output), "--markdown", str(table)]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(output.read_text())
    [outcome] = written["scenarios"]["base"]["outcomes"]
    for subject in ("plain", "starmill"):
        values = outcome[subject]
        assert (values["requests"], values["rows_lost"], values["rows_null"]) == (CALLS, 0, 0)
        assert values["paid_again"] == 0
        assert values["wall_over_ideal"] > 0.9
        assert values["peak_mb"] > 10
        assert values["cpu_s_per_1000"] > 0
    assert written["machine"]["cores"] >= 1
    assert written["options"]["calls"] == CALLS
    assert [row["row"] for row in written["table"]] == [1, 2, 2, 2]
    assert table.read_text() == done.stdout
    assert f"| {outcome['starmill']['wall_over_ideal']:.2f} |" in done.stdout
    assert "These numbers mean nothing" in done.stdout
