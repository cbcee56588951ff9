"""Starts Starmill as in production, on one machine: Redis, worker processes, and a feeder."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from celery import Celery

from producer.feeding.feeder import Feeder
from producer.local.services import gateway_service, redis_service
from producer.local.supervisor import Service, Supervisor
from storage.database import Database
from storage.ledger import runs
from storage.settings import Settings
from tests.bench.experiment import QUEUE, experiment, splits
from tests.bench.installation import RUN, Installation
from tests.bench.load import Load
from tests.bench.measured import Measured
from tests.bench.plain import READY
from tests.openai_server.process import REPOSITORY, OpenAIServer
from tests.support.pipeline import wait_until

WARM_UP = "warm-up"


def starmill(load: Load, server: OpenAIServer, folder: Path) -> Measured:
    """Undisturbed, from the first call to the last committed row."""
    with installed(load, server, folder) as installation:
        installation.begin()
        installation.wait_for(load.calls)
        return installation.measured()


@contextmanager
def installed(
    load: Load, server: OpenAIServer, folder: Path, gateway: bool = False
) -> Iterator[Installation]:
    """Everything is connected and warm, and a run is planned, which waits to begin."""
    local, logs = folder / "local", folder / "logs"
    for made in (local, logs):
        made.mkdir(parents=True)
    server.configure()
    redis, redis_url = redis_service(local, logs)
    settings = Settings(home=folder, redis_url=redis_url, _env_file=None)  # type: ignore[call-arg]
    supervisor = Supervisor(local)
    with closing(Database(settings.database)) as db:
        db.migrate()
        try:
            supervisor.start(redis)
            if gateway:
                service, url = gateway_service(settings, logs)
                supervisor.start(service)
                settings = settings.model_copy(update={"gateway_url": url})
            for number in range(load.workers):
                supervisor.start(_worker(number, load, settings, logs))
            _wait_for_workers(load.workers, redis_url)
            installation = Installation(load, server, folder, settings, db, supervisor)
            _warm_up(installation)
            runs.plan_run(db, RUN, experiment(load, server.url), splits(load.calls), time.time())
            supervisor.start(_feeder(folder, settings, logs))
            yield installation
        except (AssertionError, TimeoutError) as error:
            raise TimeoutError(f"{error}; {_last_words(logs)}") from error
        finally:
            supervisor.stop()


def _worker(number: int, load: Load, settings: Settings, logs: Path) -> Service:
    celery = ["celery"]
    if load.visibility_seconds:
        celery = ["tests.bench.impatient", str(load.visibility_seconds)]
    command = [
        sys.executable, "-m", *celery, "-A", "worker", "worker", "-Q", QUEUE, "-P", "threads",
        "-c", str(load.threads), "-n", f"worker-{number}@%h", "-l", "WARNING",
        "--without-gossip", "--without-mingle",
    ]  # fmt: skip
    log = logs / f"worker-{number}.log"
    return Service(f"worker-{number}", command, log, lambda: True, _environment(settings))


def _feeder(folder: Path, settings: Settings, logs: Path) -> Service:
    command = [sys.executable, "-m", "tests.bench.feeder", RUN, str(folder)]
    ready = (folder / READY).exists
    return Service("feeder", command, logs / "feeder.log", ready, _environment(settings))


def _environment(settings: Settings) -> dict[str, str]:
    return {
        "PYTHONPATH": str(REPOSITORY),
        "STARMILL_HOME": str(settings.root),
        "STARMILL_REDIS_URL": settings.broker,
        "STARMILL_LOG_LEVEL": "WARNING",
        **({"STARMILL_GATEWAY_URL": settings.gateway_url.get_secret_value()} if settings.gateway_url else {}),
    }


def _wait_for_workers(number: int, redis_url: str) -> None:
    with Celery(broker=redis_url) as app:
        wait_until(lambda: len(app.control.ping(timeout=1, limit=number)) == number, "the workers listen")


def _last_words(logs: Path) -> str:
    """Return the last log lines of the first worker: why it waits, or how it died."""
    path = logs / "worker-0.log"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return f"the worker's last words: {lines[-1] if lines else 'none'}"


def _warm_up(installation: Installation) -> None:
    """A call for each that may be in flight, so that clients are open and code is loaded."""
    load, db = dataclasses.replace(installation.load, sections={}), installation.db
    rows = splits(load.concurrency, "chart")
    run = runs.plan_run(db, WARM_UP, experiment(load, installation.server.url), rows, time.time())
    runs.start_run(db, WARM_UP, time.time())
    feeder = Feeder(db, run, installation.settings)
    try:
        feeder.lead()

        def warm() -> bool:
            feeder.tick()
            return installation.final(WARM_UP) >= load.concurrency

        wait_until(warm, "the workers are warm")
    finally:
        feeder.close()
        runs.stop_run(db, WARM_UP, "warm")
