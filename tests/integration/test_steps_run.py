"""A pipeline of four steps with samples and a vote, run against a server that speaks the real protocol."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from tests.openai_server.process import OpenAIServer
from tests.support.chores import read_jsonl
from tests.support.pipeline import Home

ROWS = 6
SAMPLES = 3


def experiment(folder: Path, url: str) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("question", "level"))
        writer.writerows((f"how to sort list {row}", row % 2) for row in range(ROWS))
    model = {"backend": "openai", "base_url": url, "api_key_env": "NO_KEY"}
    steps = {
        "topic": {"prompt": "Name the topic of this: {{ question }}", "together": 3},
        "draft": {"prompt": "On {{ topic }}: {{ question }}", "samples": SAMPLES, "params": {"seed": 1}},
        "critique": {"model": "critic", "prompt": "How good is this? {{ draft }}", "score": [1, 5]},
        "best": {"of": "draft", "by": "critique.score", "least": 2},
        "revise": {"prompt": "Write this better: {{ best }}", "when": "best.score < 5"},
    }
    config = {
        "name": "explanations", "data": "rows.csv", "report": {"by": "level"},
        "models": {"teacher": {**model, "model": "large"}, "critic": {**model, "model": "small"}},
        "steps": steps,
    }  # fmt: skip
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.timeout(300)
def test_a_run_of_steps_and_its_replay(openai_server: OpenAIServer, tmp_path: Path) -> None:
    path = experiment(tmp_path / "task", openai_server.url)
    home = Home(tmp_path / "home")
    printed = home.starmill("run", path, "--local").stdout
    assert "By level" in printed
    rows = home.export("explanations", "rows")
    assert [row["question"] for row in rows] == [f"how to sort list {row}" for row in range(ROWS)]
    for row in rows:
        scores = [each["score"] for each in row["critique"]]
        assert len(row["draft"]) == SAMPLES
        assert row["best_score"] == max(scores)
        assert row["best"] == (row["draft"][scores.index(max(scores))] if max(scores) >= 2 else None)
        assert (row["revise"] is None) == (row["best_score"] == 5)
    pairs = home.export("explanations", "pairs")
    assert len(pairs) == sum(
        len({each["score"] for each in row["critique"]}) > 1 and row["best"] is not None for row in rows
    )
    for pair in pairs:
        [row] = [row for row in rows if row["question"] == pair["question"]]
        assert pair["prompt"] == [{"role": "user", "content": f"On {row['topic']}: {row['question']}"}]
        assert pair["chosen"] == [{"role": "assistant", "content": row["best"]}]
        assert pair["rejected"][0]["content"] in row["draft"]
    calls = home.json("status")["calls"]
    assert openai_server.stats()["calls"] == calls
    recording = tmp_path / "recording.jsonl"
    home.starmill("export", "explanations", "--what", "generations", "-o", recording)
    recorded = read_jsonl(recording)
    assert len([row for row in recorded if "request" in row]) == calls
    assert [row["text"] for row in recorded if "row" in row] == [row["topic"] for row in rows]
    openai_server.forget()
    other = Home(tmp_path / "other")
    settings = [
        f"models.{name}.{key}" for name in ("teacher", "critic")
        for key in ("backend=replay", f"recording={recording}")
    ]  # fmt: skip
    other.starmill("run", path, "--local", *(word for each in settings for word in ("--set", each)))
    assert openai_server.stats()["calls"] == 0
    assert other.export("explanations", "rows") == rows
    difference = json.loads(other.starmill("diff", "explanations", "explanations", "--json").stdout)
    assert difference["same_data"] is True
