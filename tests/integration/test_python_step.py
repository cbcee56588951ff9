"""The kind python: a function of the user's own between steps that ask a model."""

from __future__ import annotations

from pathlib import Path

from tests.openai_server.process import running
from tests.support.pipeline import Home

TASK = """
def facts(row):
    if row["id"] == "q2":
        raise ValueError("no such unit")
    is_first = row["id"] == "q0"
    return {"length": len(row["draft"]), "seen": sorted(row), "correct": is_first, "null": row["more"]}
"""
EXPERIMENT = """
name: python
data: rows.csv
models:
  teacher: {{backend: server, model: large, base_url: "{url}"}}
steps:
  draft: {{prompt: "Explain {{{{ question }}}}"}}
  three: {{prompt: "Name {{{{ question }}}}", samples: 3}}
  more: {{prompt: "More on {{{{ draft }}}}", when: id == "nobody"}}
  facts: {{function: facts, code: task.py, timeout: 20}}
  last: {{prompt: "Say {{{{ facts.length }}}}", when: facts.correct}}
"""


def test_function_gets_the_row_and_makes_a_column(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("id,question\nq0,zero\nq1,one\nq2,two\n")
    (tmp_path / "task.py").write_text(TASK)
    home = Home(tmp_path / "home")
    with running() as server:
        (tmp_path / "own.yaml").write_text(EXPERIMENT.format(url=server.url))
        home.starmill("run", tmp_path / "own.yaml", "--local", expect=1)
    status = home.json("status")
    assert status["stages"]["facts"] == {"planned": 3, "waiting": 0, "ready": 0, "in_flight": 0,
                                         "done": 2, "skipped": 0, "failed": 1}  # fmt: skip
    assert status["failures"] == {"task_folder": 1}
    printed = home.starmill("failures", status["run"]).stdout
    assert "task.py:4: ValueError: no such unit" in printed
    rows = home.export(status["run"], "rows")
    assert [row["facts"] and row["facts"]["correct"] for row in rows] == [True, False, None]
    for row in rows[:2]:
        assert row["facts"]["length"] == len(row["draft"])
        # A step with several samples has no one value; a skipped one is null.
        assert row["facts"]["seen"] == ["draft", "id", "more", "question"]
        assert row["facts"]["null"] is None
    assert [bool(row["last"]) for row in rows] == [True, False, False]
