"""deploy/Procfile runs: every process of it, against a Redis with one restricted user and a real PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.errors import UsageError
from producer.local.procfile import read_procfile
from storage.ledger import planning
from tests.chores import write_data, write_experiment
from tests.openai_server import running
from tests.pipeline import Home, wait_until
from tests.production import DEPLOY, production_redis
from tests.services import Postgres, free_port

LAUNCHER = (sys.executable, "-m", "producer.local.procfile")


@contextmanager
def launched(home: Home, *names: str) -> Iterator[subprocess.Popen[str]]:
    command = [*LAUNCHER, str(DEPLOY / "Procfile"), *names]
    with subprocess.Popen(
        command, env=home.environment, cwd=home.path.parent, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    assert process.returncode == 0, process.stderr and process.stderr.read()


def test_a_run_ends_under_the_processes_of_the_procfile(tmp_path: Path, postgres: Postgres) -> None:
    data = write_data(tmp_path / "data", train=6, test=4)
    with (
        production_redis(tmp_path) as broker,
        postgres.new_database() as database,
        running("--references", str(data / "references.jsonl")) as server,
    ):
        settings = {
            "STARMILL_REDIS_URL": broker.url, "STARMILL_DATABASE_URL": database, "OPENAI_API_KEY": "key",
            "PAGE_PORT": str(free_port()), "FLOWER_PORT": str(free_port()),
            "STARMILL_DASHBOARD_PASSWORD": "open sesame", "STARMILL_LOG_LEVEL": "WARNING",
        }  # fmt: skip
        home = Home(tmp_path / "home", settings)
        with launched(home, "teacher", "retrieve", "judge", "student"):
            home.starmill("run", write_experiment(data, server.url))
            with home.ledger() as ledger:
                [run] = planning.list_runs(ledger)
            assert run.state == "finished"
            assert home.json("status")["units"]["done"] == run.planned
        assert refused(broker.admin) == []


def refused(admin: object) -> list[str]:
    """What Redis did not let its user do."""
    log = admin.acl_log()  # type: ignore[attr-defined]
    return [f"{entry['reason']} {entry['context']} {entry['object']}" for entry in log]
