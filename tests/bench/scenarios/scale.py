"""A large run of the paper's pipeline: its speed from the first to the last train unit, and its barrier."""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from celery import Celery
from sqlalchemy import func, select

from models.core.experiment.experiment import Experiment
from models.core.pipeline.plan import queues
from producer.experiments.datasets import read_dataset
from producer.experiments.load import load_experiment
from producer.local.services import redis_service
from producer.local.supervisor import Service, Supervisor
from producer.progress.status import read_status
from storage.database import Database
from storage.ledger import runs
from storage.schema import FINISHED, GENERATIONS, TRAIN, UNITS
from storage.settings import Settings
from tests.bench.measured import Measured, cpu_seconds
from tests.bench.plain import GATE, READY
from tests.bench.scenarios.base import Bench, Outcome
from tests.bench.speed_curve import write_curve
from tests.openai_server.process import REPOSITORY, running
from tests.support.chores import write_data, write_experiment
from tests.support.pipeline import wait_until
from tests.support.services import running_postgres

RUN = "scale"
TENTH = 10
THREADS = 40
CALLS_AT_ONCE = 64
LATENCY_MS = 20.0
# Slower than this is stuck.
UNITS_A_SECOND = 20


def scale(bench: Bench) -> Outcome:
    """20,000 train rows, each of augmentation, rationale and rationalization, then 200 test rows that show
    two of them; calls of 20 ms. There is no plain counterpart."""
    rows = bench.calls or (200 if bench.quick else 20_000)
    data = write_data(bench.folder / "data", train=rows, test=max(2, rows // 100))
    with ExitStack() as stack:
        server = stack.enter_context(running("--references", str(data / "references.jsonl")))
        server.configure(latency_ms=LATENCY_MS)
        settings = stack.enter_context(_services(bench))
        db = stack.enter_context(closing(Database(settings.database)))
        db.migrate()
        experiment = _experiment(data, server.url)
        planned = runs.plan_run(db, RUN, experiment, read_dataset(experiment), time.time()).planned
        supervisor = stack.enter_context(_processes(bench, settings, experiment))
        (bench.folder / GATE).touch()
        cpu: Measured = {}

        def is_over() -> bool:
            for service in supervisor.services:
                with suppress(OSError):  # it has ended
                    cpu[f"{service.name}_cpu_s"] = cpu_seconds(service.process.pid if service.process else 0)
            time.sleep(1)  # to look more often would be what is measured
            return runs.run_state(db, RUN)[0] == FINISHED

        wait_until(is_over, f"{planned} units are final", 60 + planned / UNITS_A_SECOND)
        ended = _train_ends(db)
        write_curve(bench.results, RUN, ended)
        measured = _speed(ended) | {"barrier_s": _first_behind_barrier(db) - ended[-1]}
        at = time.monotonic()
        read_status(db, runs.load_run(db, RUN), time.time())
        measured["status_ms"] = 1000 * (time.monotonic() - at)
    return {"starmill": {"units": planned, **measured, **cpu}}


def _train_ends(db: Database) -> array[float]:
    """Return when each train unit ended, in order."""
    query = select(UNITS.c.finished_at).where(UNITS.c.run_id == RUN, UNITS.c.split == TRAIN)
    with db.read() as connection:
        return array("d", sorted(connection.scalars(query)))


def _first_behind_barrier(db: Database) -> float:
    """Return when the first call began that waited for the barrier."""
    began = select(func.min(GENERATIONS.c.created_at - GENERATIONS.c.seconds))
    with db.read() as connection:
        return float(connection.execute(began.where(GENERATIONS.c.stage == "answer")).scalar_one())


def _speed(ended: array[float]) -> Measured:
    """Compare the last tenth of the units with the first."""
    tenth = max(1, len(ended) // TENTH)
    first, last = (tenth / max(1e-3, ended[end] - ended[end - tenth]) for end in (tenth, len(ended) - 1))
    return {
        "units_per_s": len(ended) / (ended[-1] - ended[0]),
        "first_tenth_units_per_s": first,
        "last_tenth_units_per_s": last,
        "last_over_first_tenth": last / first,
    }


def _experiment(data: Path, url: str) -> Experiment:
    endpoint = {"base_url": url, "max_concurrency": CALLS_AT_ONCE}
    path = write_experiment(
        data, url, name=RUN, passages=None, rationale={"hint": "paper", "passes": 1},
        augment={"batch_size": 20},
        teacher={"backend": "openai", "model": "large", **endpoint},
        students=[{"name": "small", "backend": "server", "model": "small", **endpoint}],
        grid={"shots": [2], "retrieval": [False], "rationale": ["star"]},
    )  # fmt: skip
    return load_experiment(str(path))


@contextmanager
def _services(bench: Bench) -> Iterator[Settings]:
    """Start PostgreSQL, if it is asked for; Redis comes with the processes."""
    with ExitStack() as stack:
        url = None
        if bench.postgres:
            url = stack.enter_context(stack.enter_context(running_postgres()).new_database())
        yield Settings(home=bench.folder, database_url=url, _env_file=None)  # type: ignore[call-arg]


@contextmanager
def _processes(bench: Bench, settings: Settings, experiment: Experiment) -> Iterator[Supervisor]:
    local, logs = bench.folder / "local", bench.folder / "logs"
    for made in (local, logs):
        made.mkdir(parents=True)
    redis, url = redis_service(local, logs)
    environment = {
        "PYTHONPATH": str(REPOSITORY), "STARMILL_HOME": str(settings.root), "STARMILL_REDIS_URL": url,
        "STARMILL_DATABASE_URL": settings.database, "STARMILL_LOG_LEVEL": "WARNING",
    }  # fmt: skip
    supervisor = Supervisor(local)
    threads = str(bench.threads or THREADS)
    try:
        supervisor.start(redis)
        for number in range(bench.workers):
            name = f"worker-{number}"
            command = [
                sys.executable, "-m", "celery", "-A", "worker", "worker", "-Q", ",".join(queues(experiment)),
                "-P", "threads", "-c", threads, "-n", f"{name}@%h", "-l", "WARNING",
                "--without-gossip", "--without-mingle",
            ]  # fmt: skip
            supervisor.start(Service(name, command, logs / f"{name}.log", lambda: True, environment))
        with Celery(broker=url) as app:
            count = bench.workers
            wait_until(lambda: len(app.control.ping(timeout=1, limit=count)) == count, "the workers listen")
        command = [sys.executable, "-m", "tests.bench.feeder", RUN, str(bench.folder)]
        ready = (bench.folder / READY).exists
        supervisor.start(Service("feeder", command, logs / "feeder.log", ready, environment))
        yield supervisor
    finally:
        supervisor.stop()
