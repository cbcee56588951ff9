"""Start the services of `--local` for one experiment, in order; one stack for each home."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.core.errors import ServiceError
from models.core.experiment.endpoints import Student, Teacher
from models.core.experiment.experiment import Experiment
from producer.local import services
from producer.local.supervisor import Supervisor
from storage.settings import Settings


@dataclass(frozen=True, slots=True)
class LocalStack:
    """The started services, settings with their URLs, and a line that says how to log in to Flower."""

    supervisor: Supervisor
    settings: Settings
    flower: str = ""


@contextmanager
def local_stack(
    experiment: Experiment, settings: Settings, gateway: bool = False, flower: bool = False
) -> Iterator[LocalStack]:
    """Start the services within the block.

    Redis, the embedded model (if used) and a gateway (if wanted) are started unless their URLs are set; then
    workers, and Flower (if wanted and installed).
    """
    folder, logs = settings.root / "local", settings.root / "logs"
    for path in (folder, logs):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _exclusive_lock(folder):
        supervisor = Supervisor(folder)
        supervisor.stop_leftovers()
        try:
            redis_url = settings.redis_url
            if redis_url is None:
                service, redis_url = services.redis_service(folder, logs)
                supervisor.start(service)
            embedded_url = settings.embedded_url
            endpoints: list[Teacher | Student] = [experiment.teacher, *experiment.examined]
            if experiment.asks_judge and experiment.judge.model:
                endpoints.append(experiment.judge.model)
            if embedded_url is None and any(endpoint.backend == "embedded" for endpoint in endpoints):
                service, embedded_url = services.model_service(logs)
                supervisor.start(service)
            gateway_url = settings.gateway_url
            if gateway_url is None and gateway:
                service, gateway_url = services.gateway_service(settings, logs)
                supervisor.start(service)
            urls = {"redis_url": redis_url, "embedded_url": embedded_url, "gateway_url": gateway_url}
            used = settings.model_copy(update=urls)
            for service in services.worker_services(experiment, used, logs):
                supervisor.start(service)
            login = ""
            if flower and (service_and_login := services.flower_service(used, folder, logs)):
                service, login = service_and_login
                supervisor.start(service)
            yield LocalStack(supervisor, used, login)
        finally:
            supervisor.stop()


@contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
    path = folder / "lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ServiceError(
                f"process {lock.read().strip() or '?'} runs --local in {folder.parent} already; "
                "wait for it, or set STARMILL_HOME to another folder"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
