"""The processes of deploy/Procfile run together with a Redis of one restricted user and a real PostgreSQL."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from sqlalchemy import make_url

from producer.local.services import free_port
from storage.ledger import runs
from tests.openai_server.process import running
from tests.support.chores import write_data, write_experiment
from tests.support.pipeline import Home, wait_until
from tests.support.production import DEPLOY, production_redis
from tests.support.services import Postgres

PASSWORD = "open sesame"
COMPOSE = yaml.load((DEPLOY / "compose.yaml").read_text(), yaml.SafeLoader)["services"]
ROLES = [f"secrets/{part}.env" for part in ("feeder", "worker", "reader")]


@contextmanager
def launched(home: Home) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start each line as launchers do, with /bin/sh. SIGTERM must end each with exit code 0."""
    lines = [line for line in (DEPLOY / "Procfile").read_text().splitlines() if not line.startswith("#")]
    names, commands = zip(*(line.split(": ", 1) for line in lines), strict=True)
    environment = home.environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    processes = [
        subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"], cwd=home.path.parent,
            env=environment | {"STARMILL_DATABASE_URL": as_role(name, environment["STARMILL_DATABASE_URL"])},
        )
        for name, command in zip(names, commands, strict=True)
    ]  # fmt: skip
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
        codes = [process.wait(120) for process in processes]
    assert codes == [0] * len(commands)
    assert not home.processes()


def as_role(process: str, url: str) -> str:
    """Return the URL of the ledger for the role that a process of the Procfile has in compose.yaml."""
    [part] = [Path(file).stem for file in COMPOSE[process]["env_file"] if file in ROLES]
    return make_url(url).set(username=f"starmill_{part}").render_as_string(hide_password=False)


@pytest.mark.timeout(600)
def test_a_run_ends_under_the_processes_of_the_procfile(tmp_path: Path, postgres: Postgres) -> None:
    data = write_data(tmp_path / "data", train=3, test=2)
    with (
        production_redis(tmp_path) as broker,
        postgres.new_database() as database,
        running("--references", str(data / "references.jsonl")) as server,
    ):
        page, flower = free_port(), free_port()
        settings = {
            "STARMILL_REDIS_URL": broker.url, "STARMILL_DATABASE_URL": database, "OPENAI_API_KEY": "key",
            "PAGE_PORT": str(page), "FLOWER_PORT": str(flower), "STARMILL_DASHBOARD_PASSWORD": PASSWORD,
            "TEACHER": "large",
        }  # fmt: skip
        home = Home(tmp_path / "home", settings)
        home.starmill("runs")  # brings the tables up to date
        with psycopg.connect(database) as owner:
            owner.execute((DEPLOY / "roles.sql").read_text())
        with launched(home) as processes:
            for port in (page, flower):
                wait_until(lambda port=port: answers(port), "page and Flower answer")
            grid = {"shots": [0, 2], "retrieval": [True], "rationale": ["star"]}
            home.starmill("run", write_experiment(data, server.url, grid=grid), seconds=400)
            with home.ledger() as ledger:
                [run] = runs.list_runs(ledger)
            assert run.state == "finished"
            assert 'state="finished"} 1.0' in get(page, "/metrics")
            wait_until(
                lambda: "teacher@" in get(flower, "/api/workers?refresh=1"), "Flower knows the workers"
            )
            # The service fed the run; `starmill run` watched it.
            assert [process.poll() for process in processes] == [None] * len(processes)
            # Ready units are counted and the pages are read by a user who may do no more than that.
            assert refused(broker.admin) == []
            assert PASSWORD not in "".join(home.processes().values()).replace(f"={PASSWORD}", "")


def answers(port: int) -> bool:
    try:
        return bool(get(port, "/"))
    except OSError:
        return False


def get(port: int, path: str) -> str:
    login = base64.b64encode(f"starmill:{PASSWORD}".encode()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Basic {login}"}
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return str(response.read().decode())


def refused(admin: Any) -> list[str]:
    """Return the commands that Redis refused its user."""
    return [f"{entry['reason']} {entry['context']} {entry['object']}" for entry in admin.acl_log()]
