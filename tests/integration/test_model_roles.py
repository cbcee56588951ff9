"""A local run whose teacher runs in a worker, beside models on servers: each has a queue by its own name,
and the worker tells its load and its GPUs."""

from __future__ import annotations

import csv
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select, update

from models.core.experiment.endpoints import Model
from storage.schema import DONE, ENGINES, UNITS
from tests.openai_server.process import OpenAIServer
from tests.support.language_models import Shape, tiny_llama
from tests.support.nvidia_driver import FIRST, SECOND, build_driver
from tests.support.pipeline import Home
from tests.support.serving import PASSWORD, served

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
    home = Home(tmp_path / "home", build_driver(tmp_path / "driver"))
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
    status = home.json("status")
    [engine] = status["engines"]
    assert (engine["model"], engine["student"], engine["gpus"]) == ("teacher", "teacher", [FIRST, SECOND])
    _check_displays(home, status["run"], engine["worker"])
    assert openai_server.stats()["calls"] >= ROWS


def _check_displays(home: Home, run: str, worker: str) -> None:
    """The worker has ended; it is given a last report, as if it went on."""
    with home.ledger() as db, db.write() as connection:
        connection.execute(update(ENGINES).values(updated_at=time.time() + 3600))
    text = home.starmill("status").stdout
    assert f"GPU 0 of {worker}: First GPU, 60.5 of 80.0 GB, 97 % busy" in text
    assert f"GPU 1 of {worker}: Second GPU, 0.0 of 80.0 GB\n" in text
    with served(home) as site:
        page = site.ask(f"/runs/{run}", password=PASSWORD).text
        metrics = site.ask("/metrics", bearer=PASSWORD).text
    assert "0: First GPU" in page
    assert "1: Second GPU" in page
    samples = [each for family in text_string_to_metric_families(metrics) for each in family.samples]
    told = [
        (each.name, each.labels["gpu"], each.labels.get("state"), each.value)
        for each in samples if each.labels.get("name") in (FIRST["name"], SECOND["name"])
    ]  # fmt: skip
    assert sorted(told, key=str) == [
        ("starmill_gpu_memory_bytes", "0", "total", 80e9),
        ("starmill_gpu_memory_bytes", "0", "used", 60.5e9),
        ("starmill_gpu_memory_bytes", "1", "total", 80e9),
        ("starmill_gpu_memory_bytes", "1", "used", 0),
        ("starmill_gpu_utilization_ratio", "0", None, 0.97),
    ]
