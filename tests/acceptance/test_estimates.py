"""An estimate from five rows beside what the whole run takes, and what is asked before it costs too much."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import starmill
import yaml

from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import write_jsonl
from tests.support.pipeline import Home

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
# Questions and answers of many lengths.
ROWS = [
    {"question": f"what is {number} " + " ".join(WORDS[: 1 + number * 7 % 6] * (1 + number % 5))}
    for number in range(60)
]
RULES = [
    {
        "match": "Explain: (.*)",
        "reply": ["It is \\1.", "It is \\1, as everybody knows.", "Just \\1, in short."],
    },
    {"match": "Shorten: (.*)", "reply": ["In short, yes.", "Well, it is so."]},
]
PRICE = {"input": 1.0, "output": 4.0}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAIServer]:
    rules = tmp_path_factory.mktemp("rules") / "rules.json"
    rules.write_text(json.dumps(RULES))
    with running("--rules", str(rules), "--latency-ms", "20", "--jitter", "0.5") as started:
        yield started


@pytest.fixture
def home(tmp_path: Path, server: OpenAIServer) -> Home:
    server.forget()
    return Home(tmp_path / "home")


def experiment(home: Home, server: OpenAIServer, **model: Any) -> Path:
    path = home.path.with_name("explain.yaml")
    write_jsonl(path.with_name("rows.jsonl"), ROWS)
    teacher = {"backend": "openai", "model": "m", "base_url": server.url, "price": PRICE, **model}
    steps = {
        "explain": {"prompt": "Explain: {{ question }}"},
        "shorter": {"prompt": "Shorten: {{ explain }}", "when": "question|length > 60"},
    }
    config = {"name": "explain", "data": "rows.jsonl", "models": {"teacher": teacher}, "steps": steps}
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def test_estimate_from_five_rows_is_what_the_run_takes(home: Home, server: OpenAIServer) -> None:
    path = experiment(home, server)
    estimate = home.json("estimate", path, "-n", 5)
    asked = server.stats()["calls"]
    explain, shorter = estimate["steps"]
    long = sum(len(row["question"]) > 60 for row in ROWS)
    assert (explain["calls"], explain["in_ledger"], explain["to_buy"]) == (60, 5, 55)
    assert (shorter["calls"], shorter["asked"], shorter["sampled"]) == (long, asked - 5, 5)
    assert estimate["in_ledger"] == asked
    assert home.json("estimate", path, "-n", 5) == estimate
    assert server.stats()["calls"] == asked
    told = home.starmill("run", path, "--local").stderr
    assert f"{asked} answers already in the ledger, {estimate['to_buy']} to buy: about " in told
    stats = server.stats()
    assert (stats["calls"], stats["paid_again"]) == (60 + long, 0)
    took = home.json("status")
    assert took["calls"] == estimate["to_buy"]
    for kind in ("prompt", "completion"):
        assert estimate["tokens"][kind] == pytest.approx(took["tokens"][kind], rel=0.1)
    assert estimate["cost_usd"] == pytest.approx(took["cost_usd"], rel=0.1)
    over = home.json("estimate", path, "-n", 5)
    assert (over["in_ledger"], over["to_buy"], over["cost_usd"]) == (60 + long, 0, 0.0)


def test_changed_step_is_asked_anew_and_those_before_it_are_not(home: Home, server: OpenAIServer) -> None:
    path = experiment(home, server)
    home.starmill("run", path, "--local")
    config = yaml.safe_load(path.read_text())
    config["steps"]["shorter"]["prompt"] = "Shorten: {{ explain }} in three words"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    explain, shorter = home.json("estimate", path, "-n", 5)["steps"]
    assert (explain["in_ledger"], explain["to_buy"]) == (60, 0)
    assert shorter["to_buy"] == shorter["calls"] - shorter["in_ledger"] > 0


def test_unknown_price_is_said_and_no_amount_is_shown(home: Home, server: OpenAIServer) -> None:
    path = experiment(home, server, price={})
    shown = home.starmill("estimate", path, "-n", 5)
    assert "price unknown: set the price of teacher" in shown.stdout
    assert "$0.0000" not in shown.stdout
    assert home.json("estimate", path, "-n", 5)["cost_usd"] is None
    told = home.starmill("run", path, "--confirm-above-usd", "5", "--local", expect=2).stderr
    assert "has an unknown cost: set the price of teacher, and there is no terminal to ask" in told
    assert server.stats()["calls"] <= 2 * 5
    [run] = [each["run"] for each in home.json("runs")["runs"] if each["run"].startswith("preview-")]
    assert "price unknown: set the price of teacher" in home.starmill("status", run).stdout
    assert "price unknown: set the price of teacher" in home.starmill("report", run).stdout
    assert "0.0000" not in home.starmill("diff", run, run).stdout
    report = json.loads(home.starmill("report", run, "--format", "json").stdout)
    assert {step["cost_usd"] for step in report["steps"]} == {None}
    [row] = home.json("show", run, "0")["rows"]
    assert {row["cost_usd"], row["units"][0]["call"]["cost_usd"]} == {None}


def test_run_above_the_limit_is_not_begun_without_a_terminal(home: Home, server: OpenAIServer) -> None:
    path = experiment(home, server)
    refused = home.starmill("run", path, "--confirm-above-usd", "0.0001", "--local", expect=2)
    assert "0 answers already in the ledger" in refused.stderr
    assert "tokens unknown until rows are done: starmill estimate" in refused.stderr
    home.starmill("estimate", path, "-n", 5)
    asked = server.stats()["calls"]
    refused = home.starmill("run", path, "--confirm-above-usd", "0.0001", "--local", expect=2)
    assert "leave it out: starmill run --resume explain-" in refused.stderr.splitlines()[-1]
    assert server.stats()["calls"] == asked
    home.starmill("run", path, "--confirm-above-usd", "1", "--local")
    assert server.stats()["calls"] > asked


def test_estimate_from_python(home: Home, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARMILL_HOME", str(home.path))
    made = starmill.estimate(str(experiment(home, server)), n=2)
    assert (made.rows["train"], made.to_buy, made.unpriced) == (60, made.to_buy, ())
    assert made.dollars
    assert made.seconds
