"""A run stops before it costs more than it may, says so in one line, and goes on when it may cost more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.openai_server.process import OpenAIServer
from tests.support.chores import write_data, write_experiment
from tests.support.pipeline import Home

PRICE = {"input": 100.0, "output": 100.0}
CALLS_AT_ONCE = 4


@pytest.fixture
def experiment(tmp_path: Path, server: OpenAIServer) -> Path:
    server.configure(latency_ms=20)
    server.forget()
    data = write_data(tmp_path / "data", train=24, test=4)
    endpoint = {"base_url": server.url, "price": PRICE, "max_concurrency": CALLS_AT_ONCE}
    endpoint |= {"params": {"max_tokens": 60}}
    teacher = {"backend": "openai", "model": "large", **endpoint}
    students = [{"name": "small", "backend": "server", "model": "small", **endpoint}]
    return write_experiment(data, server.url, teacher=teacher, students=students, budget_usd=0.4)


def sold(server: OpenAIServer) -> float:
    """Dollars, by the server's own count of tokens."""
    tokens = server.stats()["tokens_paid"]
    return float(tokens["prompt"] * PRICE["input"] + tokens["completion"] * PRICE["output"]) / 1e6


def test_a_budget_pauses_the_run_in_time(experiment: Path, server: OpenAIServer, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    completed = home.starmill("run", experiment, "--local", expect=2)
    [line] = [line for line in completed.stderr.splitlines() if line.startswith("starmill:")]
    status = home.json("status")
    assert "budget_usd 0.4" in line
    assert f"starmill resume {status['run']} --budget-usd" in line
    assert status["state"] == "paused"
    # The price of the next call no longer fitted: calls cost a few cents each here.
    assert 0.2 < status["cost_usd"] <= 0.4
    assert status["cost_usd"] == pytest.approx(sold(server))

    home.starmill("resume", status["run"], "--local", "--budget-usd", "-1", expect=2)
    home.starmill("resume", status["run"], "--local", "--budget-usd", "100")
    ended = home.json("status")
    assert ended["state"] == "finished"
    assert ended["units"]["failed"] == 0
    assert ended["run"] == status["run"]
    assert server.stats()["paid_again"] == 0


def test_a_budget_without_prices_is_refused(experiment: Path, tmp_path: Path) -> None:
    completed = Home(tmp_path / "home").starmill("run", experiment, "--set", "teacher.price={}", expect=2)
    assert completed.stderr.count("\n") == 1
    assert "set teacher.price" in completed.stderr
