"""A grid of answers for one student that workers run: planned, fed, and read back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from models.core.experiment.experiment import Experiment
from models.core.types import Example
from producer.feeding.feeder import Feeder
from storage.database import Database
from storage.ledger import runs
from storage.ledger.runs import Run
from storage.schema import DONE, EXAMPLES, FAILED, GENERATIONS, TEST, TRAIN, UNITS
from storage.settings import Settings
from tests.support.chores import chores
from tests.support.small_run import Hand
from tests.support.task_folders import conala

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN_ROWS = 24


@dataclass(frozen=True)
class Grid:
    """A started run, and what its units have become; `stage` is the one that is watched."""

    db: Database
    run: Run
    settings: Settings
    stage: str = "answer"

    def feed_until(
        self, answered: int, seconds: float = 300, by: subprocess.Popen[bytes] | None = None
    ) -> float:
        """Feed until so many answers are final, by a worker that lives; the seconds that it took."""
        started = time.monotonic()
        with closing(Feeder(self.db, self.run, self.settings)) as feeder:
            feeder.lead()
            while sum(self.states().values()) < answered:
                feeder.tick()
                assert time.monotonic() - started < seconds, f"{self.states()} in {seconds:.0f} s"
                assert by is None or by.poll() is None, f"the worker stopped; see {log_of(self.settings)}"
                time.sleep(0.05)
        return time.monotonic() - started

    def states(self) -> Counter[str]:
        """Final answers by state."""
        rows = self._answers(UNITS.c.state)
        return Counter(row.state for row in rows if row.state in (DONE, FAILED))

    def reasons(self) -> set[str]:
        return {row.reason for row in self._answers(UNITS.c.reason) if row.reason}

    def texts(self) -> dict[tuple[int, str], str]:
        """Return the answers by row and variant."""
        columns = (UNITS.c.example_id, UNITS.c.variant, UNITS.c.result, UNITS.c.state)
        with self.db.read() as connection:
            rows = dict(connection.execute(select(EXAMPLES.c.id, EXAMPLES.c.row)).all())
        return {(rows[unit.example_id], unit.variant): unit.result["text"]
                for unit in self._answers(*columns) if unit.state == DONE}  # fmt: skip

    def prompts(self) -> dict[str, str]:
        """Every prompt that was asked, and its answer."""
        query = select(GENERATIONS.c.request, GENERATIONS.c.answer).where(GENERATIONS.c.done.is_(True))
        with self.db.read() as connection:
            return {row.request["prompt"]: row.answer for row in connection.execute(query)}

    def holders(self) -> Counter[str]:
        """Units in workers' hands, by worker."""
        query = select(UNITS.c.lease_owner).where(UNITS.c.lease_owner.is_not(None))
        with self.db.read() as connection:
            return Counter(connection.scalars(query))

    def _answers(self, *columns: Any) -> list[Any]:
        query = select(*columns).where(UNITS.c.run_id == self.run.id, UNITS.c.stage == self.stage)
        with self.db.read() as connection:
            return list(connection.execute(query))


def settings_in(home: Path, redis_url: str) -> Settings:
    return Settings(home=home, redis_url=redis_url, lease_seconds=8, _env_file=None)  # type: ignore[call-arg]


@contextmanager
def planned(
    settings: Settings,
    model: Path,
    rows: int,
    name: str = "grid",
    word: str = "asked",
    *,
    stage: str = "answer",
    splits: Mapping[str, list[Example]] | None = None,
    sections: Mapping[str, Any] | None = None,
    **student: Any,
) -> Iterator[Grid]:
    """Shots 0 and 2 for each row, or what `sections` say; the train split is done if answers are watched."""
    params = student.pop("params", {"temperature": 0, "max_tokens": 24})
    engine = {"dtype": "float32", "enforce_eager": True, "max_num_seqs": 64, "gpu_memory_utilization": 0.2}
    experiment = Experiment.model_validate({
        "name": name, "dataset": {"path": ".", "train": "train.jsonl", "test": "test.jsonl"},
        "teacher": {"backend": "openai", "model": "teacher", "base_url": "http://127.0.0.1:9"},
        "students": [{"name": "small", "backend": "vllm", "model": str(model), "max_model_len": 1024,
                      "params": params, "engine": {**engine, **student.pop("engine", {})}, **student}],
        "task": conala(), "augment": {"enabled": False}, "rationale": {"passes": 0},
        "grid": {"shots": [0, 2], "retrieval": [False], "rationale": ["none"]}, **(sections or {}),
    })  # fmt: skip
    splits = splits or {TRAIN: examples(TRAIN_ROWS, "taught"), TEST: examples(rows, word)}
    with closing(Database(settings.database)) as db:
        db.migrate()
        run = runs.plan_run(db, name, experiment, splits, time.time())
        runs.start_run(db, name, time.time())
        run = runs.load_run(db, name)
        hand = Hand(db, run, time.time)
        for slot in run.slots[TRAIN] if stage == "answer" else ():
            for claimed in hand.take(TRAIN, slot.stage, slot.variant):
                hand.done(claimed, {"text": "", "correct": False, "passages": []})
        yield Grid(db, run, settings, stage)


def examples(count: int, word: str) -> list[Example]:
    rows = enumerate(chores(count, word))
    return [Example(row, f"{word}{row}", content["request"], content["reference"]) for row, content in rows]


@contextmanager
def worker(
    grid: Grid,
    name: str = "one",
    threads: int = 18,
    queues: Sequence[str] = (),
    **environment: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """`celery worker`, by default on the student's queue; its log is `NAME.log` in the home."""
    settings, served = grid.settings, ",".join(queues or [grid.run.experiment.students[0].queue])
    command = [sys.executable, "-m", "celery", "-A", "worker", "worker", "-Q", served, "-P", "threads",
               "-c", str(threads), "-n", f"{name}@%h", "-l", "WARNING", "--without-gossip"]  # fmt: skip
    known = {
        "STARMILL_HOME": str(settings.root), "STARMILL_REDIS_URL": settings.broker,
        "STARMILL_LEASE_SECONDS": str(settings.lease_seconds), "VLLM_LOGGING_LEVEL": "ERROR",
    }  # fmt: skip
    with (
        log_of(settings, name).open("wb") as log,
        subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, **known, **environment},
                         stdout=log, stderr=log, start_new_session=True) as process,
    ):  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def log_of(settings: Settings, name: str = "one") -> Path:
    settings.root.mkdir(parents=True, exist_ok=True)
    return settings.root / f"{name}.log"
