"""Eight processes that search one index on one machine, and one that is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select

from models.core.experiment.experiment import Experiment
from models.core.types import Example
from producer.feeding.feeder import Feeder
from producer.index.build_index import build_index
from storage.database import Database
from storage.ledger import runs
from storage.schema import DONE, TEST, TRAIN, UNITS
from storage.settings import Settings
from tests.openai_server.process import REPOSITORY
from tests.support.encoders import WORDS, tiny_bert
from tests.support.pipeline import wait_until

UNITS_TO_FIND = 1_000
WORKERS = 8
CORPUS = 200


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    return Settings(home=tmp_path, redis_url=redis_url, lease_seconds=5, _env_file=None)  # type: ignore[call-arg]


@pytest.fixture
def experiment(tmp_path: Path, settings: Settings) -> Experiment:
    """Its index is built."""
    passages = [{"id": f"m.f{row}", "text": f"{WORDS[row % 12]} {row}"} for row in range(CORPUS)]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(passage) + "\n" for passage in passages))
    chosen = Experiment.model_validate({
        "name": "retrieve", "dataset": {"path": ".", "train": "train.jsonl", "test": "test.jsonl"},
        "passages": {"source": "jsonl", "path": str(tmp_path / "docs.jsonl"),
                     "encoder": str(tiny_bert(tmp_path / "encoder"))},
        "teacher": {"backend": "openai", "model": "teacher"}, "students": [{"backend": "embedded"}],
        "augment": {"enabled": False}, "rationale": {"passes": 0},
        "grid": {"shots": [0], "retrieval": [False], "rationale": ["none"]},
    })  # fmt: skip
    build_index(chosen.passages, settings.milvus, settings.root)
    return chosen


@contextmanager
def worker(number: int, settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "celery", "-A", "worker", "worker", "-Q", "retrieve", "-P", "threads",
               "-c", "2", "-n", f"w{number}@%h", "-l", "WARNING", "--without-gossip"]  # fmt: skip
    environment = {
        **os.environ, "STARMILL_HOME": str(settings.root), "STARMILL_REDIS_URL": settings.broker,
        "STARMILL_LEASE_SECONDS": "5",
    }  # fmt: skip
    with (
        (settings.root / f"worker-{number}.log").open("wb") as log,
        subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def retrieve_unit_states(db: Database) -> Counter[str]:
    query = select(UNITS.c.state, func.count()).where(UNITS.c.stage == "retrieve").group_by(UNITS.c.state)
    with db.read() as connection:
        return Counter({row[0]: row[1] for row in connection.execute(query)})


@pytest.mark.marathon
@pytest.mark.timeout(600)
def test_each_unit_is_retrieved_once_after_a_worker_is_killed(
    experiment: Experiment, settings: Settings
) -> None:
    rows = [Example(row, str(row), f"{WORDS[row % 12]} {row}", "f(x)") for row in range(UNITS_TO_FIND)]
    with closing(Database(settings.database)) as db, ExitStack() as stack:
        db.migrate()
        run = runs.plan_run(db, "run", experiment, {TRAIN: rows, TEST: rows[:1]}, time.time())
        runs.start_run(db, "run", time.time())
        workers = [stack.enter_context(worker(number, settings)) for number in range(WORKERS)]
        feeder = stack.enter_context(closing(Feeder(db, run, settings)))
        feeder.lead()

        def fed_until(enough: int) -> bool:
            feeder.tick()
            return retrieve_unit_states(db)[DONE] >= enough

        wait_until(lambda: fed_until(UNITS_TO_FIND // 4), "a quarter is found", 150)
        workers[0].send_signal(signal.SIGKILL)
        wait_until(lambda: fed_until(UNITS_TO_FIND), "all are found", 60)
        assert retrieve_unit_states(db) == {DONE: UNITS_TO_FIND}
        assert all(process.poll() is None for process in workers[1:])
    for number in range(WORKERS):
        log = (settings.root / f"worker-{number}.log").read_text()
        assert "Traceback" not in log
        assert "lock" not in log.lower()
