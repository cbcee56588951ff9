"""`starmill worker`, and Celery's own command, in a folder with modules of the names of ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from sqlalchemy import select

from storage.schema import DONE, UNITS
from tests.openai_server.process import OpenAIServer
from tests.support.pipeline import STARMILL, Home, wait_until

CELERY = Path(sys.executable).with_name("celery")
ANOTHER = "another worker, from any terminal: "
OURS = ("models", "storage", "worker", "producer")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder whose packages and modules have the names of ours, and raise."""
    for name in OURS[:2]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not this one')\n")
    for name in OURS[2:]:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')\n")
    return tmp_path


@pytest.fixture
def home(project: Path, redis_url: str) -> Home:
    return Home(project / "home", {"STARMILL_REDIS_URL": redis_url})


@contextmanager
def worker(home: Home, command: Sequence[str]) -> Iterator[Path]:
    """The command in the project's folder, and its log."""
    log = home.path.with_name("worker.log")
    with log.open("wb") as output, subprocess.Popen(
        command, cwd=home.path.parent, env=home.environment, stdout=output, stderr=output
    ) as process:  # fmt: skip
        try:
            yield log
        finally:
            process.terminate()
            assert process.wait(30) == 0, log.read_text()


def test_worker_serves_runs_that_start_later(home: Home, openai_server: OpenAIServer) -> None:
    model = {"backend": "openai", "model": "some", "base_url": openai_server.url}
    experiment = home.path.with_name("later.yaml")
    steps = {"said": {"prompt": "Say {{ word }}"}}
    experiment.write_text(
        yaml.safe_dump({"name": "later", "data": "rows.csv", "models": {"teacher": model}, "steps": steps})
    )
    home.path.with_name("rows.csv").write_text("word\none\ntwo\n")
    with worker(home, [str(STARMILL), "worker", "-c", "4"]) as log:
        wait_until(lambda: "ready." in log.read_text(), "a worker", 20)
        home.starmill("run", experiment)
    assert home.json("status")["state"] == "finished"


def test_line_that_a_local_run_prints_adds_a_worker_from_another_folder(
    project: Path, tmp_path_factory: pytest.TempPathFactory, openai_server: OpenAIServer
) -> None:
    openai_server.configure(latency_ms=500.0)
    home = Home(project / "home", {"A_KEY": "secret-value"})
    (project / "rows.csv").write_text("question\n" + "".join(f"q{number}\n" for number in range(200)))
    model = {"backend": "openai", "model": "m", "base_url": openai_server.url, "api_key_env": "A_KEY",
             "max_concurrency": 2}  # fmt: skip
    experiment = project / "shared.yaml"
    steps = {"said": {"prompt": "{{ question }}"}}
    experiment.write_text(
        yaml.safe_dump({"name": "shared", "data": "rows.csv", "models": {"teacher": model}, "steps": steps})
    )
    with home.started("run", experiment, "--local") as run:
        assert run.stderr is not None
        line = next(line for line in run.stderr if line.startswith(ANOTHER))
        command, _, variables = line.removeprefix(ANOTHER).partition(" (")
        assert command == f"STARMILL_HOME={home.path} starmill worker"
        assert variables == "with A_KEY set as here)\n"
        wait_until(lambda: openai_server.stats()["answers"], "the run has begun")
        elsewhere = Home(tmp_path_factory.mktemp("elsewhere") / "home", {"A_KEY": "secret-value"})
        words = [STARMILL if word == "starmill" else word for word in command.split()]
        with worker(elsewhere, ["env", *map(str, words)]) as log:
            wait_until(lambda: "serving model.m" in log.read_text(), "it serves the run", 30)
            wait_until(lambda: len(workers_of(home)) == 2, "both have answered", 30)
        run.terminate()
        assert run.wait(30) == 3


def workers_of(home: Home) -> set[str]:
    with home.ledger() as db, db.read() as connection:
        return set(connection.scalars(select(UNITS.c.worker).where(UNITS.c.state == DONE)))


def test_celery_finds_the_application_beside_modules_of_the_same_names(home: Home) -> None:
    home.starmill("runs")
    for start in ([str(CELERY)], [sys.executable, "-m", "celery"]):
        command = [*start, "-A", "starmill", "worker", "-Q", "some", "-P", "threads", "-c", "1"]
        with worker(home, command) as log:
            wait_until(lambda log=log: "ready." in log.read_text(), "a worker", 20)
        log.unlink()


def test_worker_without_a_broker_says_what_to_do(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", {"STARMILL_REDIS_URL": "redis://127.0.0.1:1/0"})
    done = home.starmill("worker", expect=2)
    assert done.stderr.startswith("starmill: cannot reach Redis at 127.0.0.1:1: ")
    assert done.stderr.count("\n") == 1
