"""A teacher and a student that each run on vLLM, in one run."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from models.core.experiment.experiment import Experiment
from producer.feeding.feeder import Feeder
from producer.progress.status import read_status
from storage.database import Database
from storage.ledger import runs
from storage.schema import DONE, FINISHED, GENERATIONS, TEST, TRAIN
from tests.engine.grid import Grid, examples, log_of, settings_in, worker
from tests.support.task_folders import conala

ROWS = 6
SECONDS = 300

pytestmark = pytest.mark.timeout(900)


def experiment(teacher: Path, student: Path) -> Experiment:
    engine = {"dtype": "float32", "enforce_eager": True, "max_num_seqs": 16, "gpu_memory_utilization": 0.2}
    on_vllm: dict[str, Any] = {"backend": "vllm", "engine": engine}
    greedy = {"temperature": 0, "max_tokens": 24}
    small = {"name": "small", "model": str(student), "max_model_len": 256, "params": greedy, **on_vllm}
    return Experiment.model_validate({
        "name": "both", "dataset": {"path": ".", "train": "train.jsonl", "test": "test.jsonl"},
        "teacher": {"model": str(teacher), "max_model_len": 1024, "params": greedy, **on_vllm},
        "students": [small], "task": conala(), "augment": {"enabled": False},
        "rationale": {"passes": 1, "exemplars": 0, "params": greedy},
        "grid": {"shots": [0, 2], "retrieval": [False], "rationale": ["none"]},
    })  # fmt: skip


def run_to_the_end(grid: Grid) -> None:
    deadline = time.monotonic() + SECONDS
    with closing(Feeder(grid.db, grid.run, grid.settings)) as feeder:
        feeder.lead()
        while not feeder.tick():
            assert time.monotonic() < deadline, f"{grid.states()} in {SECONDS} s"
            time.sleep(0.05)


def test_teacher_and_student_are_answered_by_engines(
    small_model: Path, llama: Path, redis_url: str, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path / "home", redis_url)
    planned = experiment(small_model, llama)
    with closing(Database(settings.database)) as db:
        db.migrate()
        runs.plan_run(
            db, "both", planned, {TRAIN: examples(ROWS, "taught"), TEST: examples(ROWS, "asked")}, time.time()
        )
        runs.start_run(db, "both", time.time())
        grid = Grid(db, runs.load_run(db, "both"), settings)
        with (
            worker(grid, "teacher", queues=[planned.model("teacher").queue]),
            worker(grid, "student"),
            worker(grid, "judge", queues=["judge"]),
        ):
            run_to_the_end(grid)
            time.sleep(3)  # within which a worker reports how full its engine was
        status = read_status(db, grid.run, time.time())
        assert status.state == FINISHED
        assert (status.failed, grid.states()) == (0, {DONE: 2 * ROWS})
        assert {engine.model for engine in status.engines} == {"teacher", "small"}
        asked = requests_by_model(db)
        # The teacher's own template renders its messages; the student is asked a plain text.
        assert all("messages" in request for request in asked[str(small_model)])
        assert all("prompt" in request for request in asked[str(llama)])
        assert len(asked[str(small_model)]) >= ROWS
        assert (
            "Traceback"
            not in log_of(settings, "teacher").read_text() + log_of(settings, "student").read_text()
        )


def requests_by_model(db: Database) -> dict[str, list[dict[str, Any]]]:
    query = select(GENERATIONS.c.model, GENERATIONS.c.request).where(GENERATIONS.c.done.is_(True))
    found: dict[str, list[dict[str, Any]]] = {}
    with db.read() as connection:
        for row in connection.execute(query):
            found.setdefault(row.model, []).append(row.request)
    return found
