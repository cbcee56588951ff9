"""A local run whose teacher runs in a worker, beside models on servers: each has a queue, by its own name."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
import yaml
from sqlalchemy import select

from models.core.experiment.endpoints import Model
from storage.schema import DONE, UNITS
from tests.openai_server.process import OpenAIServer
from tests.support.language_models import Shape, tiny_llama
from tests.support.pipeline import Home

ROWS = 6


def write_run(folder: Path, server: OpenAIServer) -> Path:
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["number"], *([str(number)] for number in range(ROWS))])
    teacher = tiny_llama(folder / "llama", shape=Shape(context=2048))
    # The second address is the same server by another name.
    replica = server.url.replace("127.0.0.1", "localhost")
    config = {
        "name": "roles",
        "data": "rows.csv",
        "models": {
            "teacher": {"backend": "transformers", "model": str(teacher), "params": {"max_tokens": 4}},
            "critic": {"backend": "server", "model": "org/critic", "base_url": server.url,
                       "replicas": [replica], "prompt_format": "alpaca"},
        },
        "steps": {
            "draft": {"prompt": "count to {{ number }}", "check": {"truncated": False}},
            "review": {"model": "critic", "prompt": "Is {{ draft }} right for {{ number }}?"},
        },
    }  # fmt: skip
    path = folder / "roles.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.timeout(300)
def test_a_teacher_in_a_worker_and_a_critic_on_replicas(tmp_path: Path, openai_server: OpenAIServer) -> None:
    home = Home(tmp_path / "home")
    home.starmill("run", write_run(tmp_path, openai_server), "--local", seconds=250)
    with home.ledger() as db, db.read() as connection:
        units = connection.execute(select(UNITS.c.stage, UNITS.c.queue, UNITS.c.state)).all()
    teacher = Model(backend="transformers", model=str(tmp_path / "llama"))
    assert Counter((unit.stage, unit.state) for unit in units) == {
        ("draft", DONE): ROWS,
        ("review", DONE): ROWS,
    }
    assert {(unit.stage, unit.queue) for unit in units} == {
        ("draft", teacher.queue),
        ("review", "model.org-critic"),
    }
    # One worker for everything on the network, one for the model that runs in it.
    logs = {path.name for path in (home.path / "logs").glob("worker*.log")}
    assert logs == {"worker.log", "worker-teacher.log"}
    [engine] = home.json("status")["engines"]
    assert (engine["model"], engine["student"]) == ("teacher", "teacher")
    assert openai_server.stats()["calls"] >= ROWS
