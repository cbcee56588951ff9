"""deploy/Procfile runs, all of it: a Redis with one restricted user, a real PostgreSQL, a model server."""

from __future__ import annotations

import base64
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from models.core.errors import UsageError
from producer.local.procfile import read_procfile
from storage.ledger import runs
from tests.openai_server.process import running
from tests.support.chores import write_data, write_experiment
from tests.support.pipeline import Home, wait_until
from tests.support.production import DEPLOY, production_redis
from tests.support.services import Postgres, free_port

LAUNCHER = (sys.executable, "-m", "producer.local.procfile")
PASSWORD = "open sesame"


@contextmanager
def launched(home: Home, *names: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [*LAUNCHER, str(DEPLOY / "Procfile"), *names]
    with subprocess.Popen(command, env=home.environment, cwd=home.path.parent) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)
    assert process.returncode == 0
    assert not home.processes()


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
        }  # fmt: skip
        home = Home(tmp_path / "home", settings)
        with launched(home) as launcher:
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
            assert launcher.poll() is None
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
    """What Redis did not let its user do."""
    return [f"{entry['reason']} {entry['context']} {entry['object']}" for entry in admin.acl_log()]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("feeder: starmill feed\nnonsense\n", "Procfile:2: expected `name: command`, found 'nonsense'"),
        ("a: true\na: false\n", "Procfile:2: a is there already; give each a name of its own"),
        ("a:\n", "Procfile:1: expected `name: command`, found 'a:'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "Procfile"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        read_procfile(path)
    assert str(error.value) == f"{tmp_path}/{says}"


def test_nothing_is_started_when_the_release_fails(tmp_path: Path) -> None:
    path = tmp_path / "Procfile"
    path.write_text("release: false\nstarted: touch started; sleep 60\n")
    home = Home(tmp_path / "home")
    command = [*LAUNCHER, str(path)]
    done = subprocess.run(
        command, env=home.environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "release: false ended with 1; nothing was started\n"
    assert not (tmp_path / "started").exists()
