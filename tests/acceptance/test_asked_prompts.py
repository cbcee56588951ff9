"""Exported prompts with all of their parts are, to the byte, what the teacher was asked."""

from __future__ import annotations

from pathlib import Path

from producer.results.export.columns import prompt_sha256
from tests.support.chores import read_jsonl
from tests.support.pipeline import Ended


def test_a_prompt_with_documentation_and_seeds_is_the_one_that_was_asked(
    finished: Ended, tmp_path: Path
) -> None:
    """Those of the first pass: later ones had a hint, which is left out."""
    parts = ("--with", "passages", "--with", "seeds")
    file = tmp_path / "rows.jsonl"
    finished.home.starmill("export", finished.run, "--style", "chat", *parts, "-o", file)
    rows = read_jsonl(file)
    asked = [
        prompt_sha256({"messages": row["messages"][:-1]}) == row["provenance"]["prompt_sha256"]
        for row in rows
    ]
    assert asked == [row["pass"] == 0 for row in rows]
    assert True in asked
    assert False in asked
