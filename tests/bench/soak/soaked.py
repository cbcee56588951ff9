"""The installation that is soaked: PostgreSQL, Redis, feed service, workers, and the command that plans."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import yaml
from celery import Celery

from producer.local.child_process import dying_with_parent
from producer.local.services import redis_service
from producer.local.supervisor import Service, Supervisor
from storage.database import Database
from tests.openai_server.process import REPOSITORY, OpenAIServer, running
from tests.support.pipeline import STARMILL, Home, wait_until
from tests.support.services import Postgres, running_postgres

CALLS_AT_ONCE = 64
LATENCY_MS = 20.0
# As deploy/ has it. The product's own pools decide how many of them are used.
CONNECTIONS = 400
START_SECONDS = 600
WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "inlet", "jetty", "karst",
         "loess", "marsh", "north", "ocean", "poppy", "quartz", "ridge", "shoal", "thorn")  # fmt: skip
RULES = [
    {"match": r"number (\d+): (.*)", "reply": r"The number \1 stands for \2, which all who read it will see."}
]


@dataclass(frozen=True)
class SoakedStarmill:
    """Started, and not yet told to run. `experiment` has two steps over `rows` rows."""

    home: Home
    experiment: Path
    rows: int
    server: OpenAIServer
    postgres: Postgres
    supervisor: Supervisor
    producers: list[subprocess.Popen[bytes]]
    database: str
    redis_url: str
    folder: Path

    def start_producer(self) -> None:
        """Run the experiment, or go on with it by the same line."""
        with (self.folder / "logs" / "producer.log").open("ab") as log:
            command = dying_with_parent([str(STARMILL), "run", str(self.experiment)])
            self.producers.append(
                subprocess.Popen(
                    command, env=self.home.environment, cwd=self.folder, stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log,
                )
            )  # fmt: skip

    def pids(self) -> dict[str, int]:
        """Return the process of each part by name; processes that it started are below it."""
        alive = {s.name: s.process.pid for s in self.supervisor.services if s.process}
        with suppress(OSError, ValueError):
            alive["PostgreSQL"] = self.postgres.pid()
        if self.producers and self.producers[-1].poll() is None:
            alive["producer"] = self.producers[-1].pid
        return alive

    def kill(self, victim: str) -> None:
        """kill -9 of a part, or of everything but the model server. What died is started again at once."""
        pids = self.pids()
        chosen = (
            [pids["worker-0"] if victim == "worker" else pids[victim]]
            if victim in {*pids, "worker"}
            else [pid for name, pid in pids.items() if name not in {"server", "PostgreSQL"}]
        )
        if victim != "PostgreSQL":
            for pid in chosen:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if victim in {"PostgreSQL", "everything"}:
            self._restart_postgres()

    def check(self) -> None:
        """Start again what has died. Raise RuntimeError if the producer ended badly by itself."""
        self.supervisor.check()
        code = self.producers[-1].poll()
        if code == -signal.SIGKILL:
            self.start_producer()
        elif code:
            words = (self.folder / "logs" / "producer.log").read_text()[-500:]
            raise RuntimeError(f"`starmill run` ended with {code}: {words}")

    @property
    def is_over(self) -> bool:
        return self.producers[-1].poll() == 0

    def _restart_postgres(self) -> None:
        """A large log takes longer to recover than the helper waits."""
        deadline = time.monotonic() + START_SECONDS
        restart = self.postgres.kill_and_restart
        while True:
            try:
                restart()
            except (subprocess.SubprocessError, AssertionError):
                if time.monotonic() > deadline:
                    raise
                restart = self.postgres.ensure_running
            else:
                return


def write_rows(path: Path, rows: int) -> Path:
    """Write rows of twelve words each, all different."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            text = " ".join(
                f"{WORDS[(number * 7 + k * (3 + number % 5)) % 20]}{number % 997 + k}" for k in range(12)
            )
            file.write(json.dumps({"number": number, "text": text}) + "\n")
    return path


def write_soak_experiment(folder: Path, url: str, rows: int) -> Path:
    write_rows(folder / "rows.jsonl", rows)
    path = folder / "soak.yaml"
    experiment = {
        "name": "soak",
        "data": "rows.jsonl",
        "models": {
            "teacher": {
                "backend": "openai",
                "model": "teacher",
                "base_url": url,
                "max_concurrency": CALLS_AT_ONCE,
            }
        },
        "steps": {
            "draft": {"prompt": "Explain number {{ number }}: {{ text }}"},
            "again": {"prompt": "Say it in other words. {{ draft }}\nIt was number {{ number }}: {{ text }}"},
        },
    }
    path.write_text(yaml.safe_dump(experiment, sort_keys=False))
    return path


@contextmanager
def soaked(folder: Path, rows: int, workers: int, threads: int, statements: bool) -> Iterator[SoakedStarmill]:
    local, logs = folder / "local", folder / "logs"
    for made in (local, logs):
        made.mkdir(parents=True)
    with ExitStack() as stack:
        (folder / "rules.json").write_text(json.dumps(RULES))
        server = stack.enter_context(running("--rules", str(folder / "rules.json")))
        server.configure(latency_ms=LATENCY_MS)
        postgres = stack.enter_context(running_postgres())
        database = stack.enter_context(postgres.new_database())
        _configure(postgres, database, statements)
        supervisor = Supervisor(local)
        stack.callback(supervisor.stop)
        redis, redis_url = redis_service(local, logs)
        supervisor.start(redis)
        home = Home(
            folder / "home",
            {
                "STARMILL_REDIS_URL": redis_url,
                "STARMILL_DATABASE_URL": database,
                "STARMILL_LOG_LEVEL": "WARNING",
                "PYTHONPATH": str(REPOSITORY),
            },
        )
        with closing(Database(database)) as db:
            db.migrate()
        environment = home.environment
        for number in range(workers):
            command = [
                sys.executable, "-m", "celery", "-A", "worker", "worker", "-Q", "model.teacher",
                "-P", "threads", "-c", str(threads), "-n", f"worker-{number}@%h", "-l", "WARNING",
                "--without-gossip", "--without-mingle",
            ]  # fmt: skip
            log = logs / f"worker-{number}.log"
            supervisor.start(Service(f"worker-{number}", command, log, lambda: True, environment))
        supervisor.start(
            Service("feeder", [str(STARMILL), "feed"], logs / "feeder.log", lambda: True, environment)
        )
        with Celery(broker=redis_url) as app:
            wait_until(
                lambda: len(app.control.ping(timeout=2, limit=workers)) == workers,
                "the workers listen",
                START_SECONDS,
            )
        experiment = write_soak_experiment(folder, server.url, rows)
        producers: list[subprocess.Popen[bytes]] = []
        stack.callback(_kill, producers)
        yield SoakedStarmill(
            home, experiment, rows, server, postgres, supervisor, producers, database, redis_url, folder
        )  # fmt: skip


def _kill(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()


def _configure(postgres: Postgres, database: str, statements: bool) -> None:
    """Put the durable defaults back, with room for the workers' connections."""
    with psycopg.connect(database, autocommit=True) as connection:
        for setting in ("RESET fsync", f"SET max_connections = {CONNECTIONS}"):
            connection.execute(f"ALTER SYSTEM {setting}")
        if statements:
            connection.execute("ALTER SYSTEM SET log_statement = 'all'")
    with postgres.stopped():
        pass
