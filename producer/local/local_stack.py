"""Start the services of `--local` for one experiment, side by side; one stack for each home."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.adapters.private_files import private_folder
from models.core.errors import ServiceError
from models.core.experiment.experiment import Experiment
from producer.local import services
from producer.local.supervisor import Service, Supervisor
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

    Redis, the embedded model (if used) and a gateway (if wanted) are started unless their URLs are set; with
    them workers, which wait for what they use, and later Flower (if wanted and installed).
    """
    folder, logs = settings.root / "local", settings.root / "logs"
    for path in (folder, logs):
        private_folder(path)
    with _exclusive_lock(folder):
        supervisor = Supervisor(folder)
        supervisor.stop_leftovers()
        try:
            started: list[Service] = []
            redis_url = settings.redis_url
            if redis_url is None:
                service, redis_url = services.redis_service(folder, logs)
                started.append(service)
            embedded_url = settings.embedded_url
            if embedded_url is None and any(model.backend == "embedded" for model in experiment.asked):
                service, embedded_url = services.model_service(logs)
                started.append(service)
            gateway_url = settings.gateway_url
            if gateway_url is None and gateway:
                service, gateway_url = services.gateway_service(settings, logs)
                started.append(service)
            urls = {"redis_url": redis_url, "embedded_url": embedded_url, "gateway_url": gateway_url}
            used = settings.model_copy(update=urls)
            started += services.worker_services(experiment, used, logs)
            login = ""
            if flower and (service_and_login := services.flower_service(used, folder, logs)):
                service, login = service_and_login
                started.append(service)
            supervisor.start(*started)
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
