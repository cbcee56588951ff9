"""Pipelines that nobody ships, each written in one short file: what a user of steps does first."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import read_jsonl, write_jsonl
from tests.support.pipeline import Home, paid

# Draft, critique by a second model, revise what is not good, choose the best of three.
CRITIQUE = """\
name: critique
data: questions.csv
models:
  teacher: {TEACHER}
  critic: {CRITIC}
steps:
  draft:
    prompt: "Answer in one sentence: {{ question }}"
    params: {temperature: 0.8, max_tokens: 48, seed: 7}
    samples: 3
  critique:
    kind: judge
    model: critic
    prompt: |
      Question: {{ question }}
      Answer: {{ draft }}
      How good is this answer for a reader of the {{ level }} level?
    score: {least: 1, most: 5, rubric: {1: wrong, 3: right but unclear, 5: right and clear}}
    params: {max_tokens: 64}
  revise:
    when: critique.score < 4
    prompt: |
      Question: {{ question }}
      Answer: {{ draft }}
      Critique: {{ critique.reason }}
      Write a better answer in one sentence.
    params: {temperature: 0.3, max_tokens: 48, seed: 7}
  best:
    of: [revise, draft]
    by: critique.score
"""


def write(folder: Path, rows: int, teacher: str, critic: str) -> Path:
    lines = [f"What is {n} times {n + 1}?,{'low' if n % 2 else 'high'}" for n in range(1, rows + 1)]
    (folder / "questions.csv").write_text("\n".join(["question,level", *lines]) + "\n")
    text = CRITIQUE.replace("{TEACHER}", teacher).replace("{CRITIC}", critic)
    assert len(text.splitlines()) <= 40
    path = folder / "critique.yaml"
    path.write_text(text)
    return path


def test_best_of_three_is_drafted_criticised_and_revised(server: OpenAIServer, tmp_path: Path) -> None:
    where = f'backend: server, base_url: "{server.url}"'
    path = write(tmp_path, 12, f"{{{where}, model: large}}", f"{{{where}, model: critic}}")
    home = Home(tmp_path / "home")
    home.starmill("run", path, "--local")
    run = home.json("status")["run"]
    out = tmp_path / "rows.jsonl"
    home.starmill("export", run, "-o", out)
    rows = read_jsonl(out)
    assert [row["level"] for row in rows] == ["low", "high"] * 6
    calls = 0
    for row in rows:
        scores = [each["score"] for each in row["critique"]]
        revised = [each is not None for each in row["revise"]]
        assert revised == [score < 4 for score in scores]
        calls += 3 + 3 + sum(revised)
        texts = [*row["revise"], *row["draft"]]
        candidates = [each for each in zip(scores * 2, texts, strict=True) if each[1] is not None]
        best = max(score for score, _ in candidates)
        assert row["best_score"] == best
        assert row["best"] == next(text for score, text in candidates if score == best)
    assert sum(paid(server).values()) == home.json("status")["calls"] == calls
    pairs = tmp_path / "pairs.jsonl"
    home.starmill("export", run, "--what", "pairs", "-o", pairs)
    chosen = read_jsonl(pairs)
    differ = [row for row in rows if len({each["score"] for each in row["critique"]}) > 1]
    assert len(chosen) == len(differ) > 0
    for pair, row in zip(chosen, differ, strict=True):
        assert pair["chosen"] != pair["rejected"]
        assert pair["score_chosen"] == row["best_score"] > pair["score_rejected"]
        assert row["question"] in str(pair["prompt"])


def test_same_file_runs_on_the_embedded_model(tmp_path: Path) -> None:
    """It is too small to give scores reliably: rows may fail, but none is lost, and all units end."""
    path = write(tmp_path, 2, "embedded", "embedded")
    home = Home(tmp_path / "home")
    completed = home.starmill("run", path, "--local", expect=None, seconds=300)
    assert completed.returncode in (0, 1), completed.stderr
    status = home.json("status")
    assert status["state"] == "finished"
    assert status["stages"]["draft"]["done"] == 6
    assert sum(status["units"][state] for state in ("done", "skipped", "failed")) == status["planned"] == 20
    out = tmp_path / "rows.jsonl"
    home.starmill("export", status["run"], "-o", out)
    rows = read_jsonl(out)
    assert [row["question"] for row in rows] == ["What is 1 times 2?", "What is 2 times 3?"]
    assert all(isinstance(text, str) and text for row in rows for text in row["draft"])


# STaR and a grid without documentation, on numbers out of a Parquet file.
MATHS = """\
name: maths
task: qa
data: {path: maths.parquet, fields: {request: question, reference: answer}}
split: {test: 24, seed: 1}
models:
  teacher: {backend: server, model: large, base_url: "{URL}"}
  small: {backend: server, model: small, base_url: "{URL}", prompt_format: chat}
students: [small]
rationale: {correctness: number, passes: 1, exemplars: 0}
grid: {shots: [0, 2], rationale: [none, star]}
judge: {correctness: number, metrics: [accuracy, exact_match]}
report: {by: [level]}
"""


def test_maths_from_parquet_is_reasoned_about_and_reported_by_level(tmp_path: Path) -> None:
    rows = [
        {"question": f"A box holds {n} pens. How many pens do {m} boxes hold?", "answer": n * m,
         "level": "easy" if n * m < 40 else "hard"}
        for n in range(3, 13)
        for m in range(2, 8)
    ]  # fmt: skip
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "maths.parquet")
    known = [{"request": row["question"], "reference": str(row["answer"])} for row in rows]
    references = write_jsonl(tmp_path / "references.jsonl", known)
    home = Home(tmp_path / "home")
    with running("--references", str(references)) as server:
        text = MATHS.replace("{URL}", server.url)
        assert len(text.splitlines()) <= 25
        (tmp_path / "maths.yaml").write_text(text)
        home.starmill("run", tmp_path / "maths.yaml", "--local")
    run = home.json("status")["run"]
    report = json.loads(home.starmill("report", run, "--format", "json").stdout)
    assert [cell["n"] for cell in report["ablation"]] == [24, 24, 24]
    tables = {table["split"]: table for table in report["by"]}
    for split, size in (("train", 36), ("test", 24)):
        assert tables[split]["column"] == "level"
        groups = {group["value"]: group["rows"] for group in tables[split]["groups"]}
        assert groups.keys() == {"easy", "hard"}
        assert sum(groups.values()) == size
    synthetic = home.export(run, "synthetic")
    first = {level: [row["source"] == "first_pass" for row in synthetic if row["level"] == level]
             for level in ("easy", "hard")}  # fmt: skip
    for group in tables["train"]["groups"]:
        seen = first[group["value"]]
        assert group["measures"]["first pass"]["value"] == pytest.approx(100 * sum(seen) / len(seen))
    assert "By level" in home.starmill("report", run).stdout
    assert not any("retriev" in stage for stage in home.json("status")["stages"])
