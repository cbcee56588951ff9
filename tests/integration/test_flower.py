"""Flower beside a real worker: it agrees with the ledger, tells nobody without password, and keeps secrets.
The worker's log says what each line is about, and its traces reach a collector."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flower.urls import handlers
from sqlalchemy import func, select

from models.core.pipeline.plan import queues
from producer.experiments.load import load_experiment
from storage.schema import DONE, FAILED, UNITS
from tests.openai_server.process import running
from tests.support.chores import read_jsonl, write_data, write_experiment
from tests.support.flower_process import (
    CELERY,
    PASSWORD,
    FlowerProcess,
    arguments,
    fetch,
    running_flower,
    running_worker,
    units_in,
)
from tests.support.leaks import tells
from tests.support.otlp import Collector, collecting
from tests.support.pipeline import Home, wait_until
from tests.support.services import running_valkey

pytestmark = pytest.mark.timeout(900)

REDIS_PASSWORD = "redis-password-0f3c9d5e7a1b"
KEY = "sk-marked-1e2d3c4b5a697887"
WORKER = f"teacher+retrieve+judge+student@{socket.gethostname()}"
# An address of this machine from which wrong passwords come: they slow down nobody at another one.
GUESSER = "127.0.0.3"
ROUTES = [
    route[:2] if isinstance(route, tuple) else (route.regex.pattern, route.handler_class)
    for route in handlers
]


@dataclass(frozen=True)
class Watched:
    """A finished run, and the worker and Flower that saw it."""

    home: Home
    run: str
    flower: FlowerProcess
    log: Path
    data: Path
    traces: Collector


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("flower")
    data = write_data(folder / "data", train=6, test=4)
    with (
        running("--references", str(data / "references.jsonl")) as server,
        running_valkey(password=REDIS_PASSWORD) as redis_url,
        collecting() as collector,
    ):
        endpoint = {"base_url": server.url, "max_concurrency": 4, "api_key_env": "MARKED_KEY"}
        experiment = write_experiment(
            data,
            server.url,
            teacher={"backend": "openai", "model": "large", **endpoint},
            students=[{"name": "small", "backend": "server", "model": "small", **endpoint}],
        )
        loud = {"STARMILL_LOG_LEVEL": "DEBUG", "STARMILL_LOG_FORMAT": "json", "OPENAI_LOG": "debug",
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}  # fmt: skip
        home = Home(folder / "home", {"STARMILL_REDIS_URL": redis_url, "MARKED_KEY": KEY, **loud})
        with home.ledger():
            pass  # workers want tables
        server.configure(p429=0.1, retry_after="0.1")
        served = ",".join(queues(load_experiment(str(experiment))))
        with running_flower(home) as flower, running_worker(home, served, WORKER) as log:
            wait_until(lambda: "task} enabled" in log.read_text(), "the worker reports tasks to Flower")
            home.starmill("run", experiment, seconds=600)
            yield Watched(home, home.json("status")["run"], flower, log, data, collector)


def test_tasks_agree_with_the_ledger(watched: Watched) -> None:
    query = (
        select(UNITS.c.stage, func.count()).where(UNITS.c.state.in_((DONE, FAILED))).group_by(UNITS.c.stage)
    )
    with watched.home.ledger() as db, db.read() as connection:
        done = {f"starmill.{stage}": count for stage, count in connection.execute(query)}

    def agrees() -> bool:
        tasks = [task for task in watched.flower.tasks(watched.run) if task["state"] == "SUCCESS"]
        units: Counter[str] = Counter()
        for task in tasks:
            units[task["name"]] += units_in(task)
        # On a slow machine the feeder sends again what nobody took for ten seconds.
        sent_again = len({(task["name"], arguments(task)["first"]) for task in tasks}) < len(tasks)
        return units == done or (sent_again and set(units) == set(done) and units >= Counter(done))

    assert {"starmill.augment", "starmill.answer", "starmill.judge"} <= set(done)
    wait_until(agrees, f"Flower counts {done}", 20)


def test_tasks_and_workers_show_run_and_example(watched: Watched) -> None:
    tasks = watched.flower.tasks(watched.run)
    assert {task["worker"] for task in tasks} == {WORKER}
    shown = [arguments(task) for task in tasks]
    assert {match["run"] for match in shown} == {f"small-{watched.run.rpartition('-')[2]}"}
    assert {f"starmill.{match['step']}" for match in shown} == {task["name"] for task in tasks}
    examples = {match[part] for match in shown for part in ("row", "last") if match[part]}
    assert {"train/0", "test/0"} <= examples
    assert examples <= {f"train/{row}" for row in range(6)} | {f"test/{row}" for row in range(4)}
    status, page = watched.flower.get(f"/worker/{quote(WORKER)}")
    assert status == 200
    assert WORKER in page.decode()


@pytest.mark.parametrize(
    "login", [None, "starmill:wrong", f"root:{PASSWORD}", "", f"starmill:{PASSWORD}x", ":"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PUT"])
def test_every_route_refuses_without_the_password(watched: Watched, method: str, login: str | None) -> None:
    for path in paths(watched):
        status, body = watched.flower.get(path, login, method=method, source=GUESSER)
        assert (status, body) == (401, b"Log in.") or (login is not None and status == 429), path
    if login is not None:
        wait_until(lambda: watched.flower.get("/", login, source=GUESSER)[0] == 429, "guessing is slowed")


@pytest.mark.parametrize(
    "header",
    ["Bearer x", "Basic", "Basic é", "Basic !!!!", f"Basic starmill:{PASSWORD}", "Digest username=starmill"],
)
def test_malformed_login_is_refused(watched: Watched, header: str) -> None:
    sent = {"Authorization": header.encode().decode("latin-1")}
    status, body = fetch(f"{watched.flower.url}/metrics", None, headers=sent, source=GUESSER)
    assert (status, body) == (401, b"Log in.") or (header == "Basic" and status == 429)


def test_with_the_password_every_page_is_there(watched: Watched) -> None:
    for path in paths(watched):
        status, _ = watched.flower.get(path)
        assert status != 401, path
    for path in (
        "/",
        "/workers",
        "/tasks",
        "/broker",
        "/metrics",
        "/healthcheck",
        "/api/workers",
        "/api/tasks",
    ):
        assert watched.flower.get(path)[0] == 200, path


def test_broker_page_lists_the_queues_of_the_run(watched: Watched) -> None:
    page = watched.flower.get("/broker")[1].decode()
    names = re.findall(r"<td>([a-z][\w.-]+)</td>", page)
    assert names == ["judge", "model.large", "model.small", "retrieve"]


def test_no_page_shows_a_secret(watched: Watched) -> None:
    """Pages of workers, broker and tasks are read after a refresh."""
    secrets = (REDIS_PASSWORD, KEY, PASSWORD)
    watched.flower.json(f"/api/workers?refresh=1&workername={quote(WORKER, safe='')}")
    pages = [*paths(watched), "/api/workers?refresh=1", "/?json=1", "/nothing", "/task/nothing"]
    shown = {path: watched.flower.get(path)[1] for path in pages}
    assert b"redis://" in shown[f"/worker/{quote(WORKER)}"]
    assert [path for path, body in shown.items() if tells(body, secrets)] == []


def test_no_process_and_no_log_shows_a_secret(watched: Watched) -> None:
    secrets = (REDIS_PASSWORD, KEY, PASSWORD)
    command = Path(f"/proc/{watched.flower.process.pid}/cmdline").read_bytes()
    assert b"flower" in command
    for text in (command, watched.flower.log.read_bytes(), watched.log.read_bytes()):
        assert not tells(text, secrets)


def test_it_listens_on_this_machine_only(watched: Watched) -> None:
    port = int(watched.flower.url.rpartition(":")[2])
    with socket.socket() as probe:
        # Were it bound to all addresses, this one would be taken.
        probe.bind(("127.0.0.2", port))


def test_each_log_line_of_a_unit_names_run_stage_and_unit(watched: Watched) -> None:
    lines = [json.loads(line) for line in watched.log.read_text().splitlines() if line.startswith("{")]
    lives = [line for line in lines if line["logger"] in {"worker.execute_unit", "worker.model_health"}]
    for line in lives:
        assert line["run"] == watched.run
        assert line["stage"] in {"augment", "retrieve", "rationale", "rationalize", "answer", "judge"}
        assert all(unit.isdecimal() for unit in line["unit"].split(","))
    assert all(line["worker"] == WORKER for line in lines)
    ended = [re.fullmatch(r"unit (\d+): (\w+)", line["message"]) for line in lives]
    outcomes = {int(match[1]): match[2] for match in ended if match}
    query = select(UNITS.c.id, UNITS.c.reason, UNITS.c.state).where(UNITS.c.state.in_((DONE, FAILED)))
    with watched.home.ledger() as db, db.read() as connection:
        assert outcomes == {unit: reason or "done" for unit, reason, _ in connection.execute(query)}
    again = [line for line in lives if "asked again" in line["message"]]
    assert again, "the server refused some calls"
    assert all("," not in line["unit"] for line in again if line["stage"] == "answer")
    assert any(line["logger"].startswith("celery.") for line in lines)


def test_logs_hold_no_request(watched: Watched) -> None:
    log = watched.log.read_text()
    requests = [
        row["request"] for split in ("train", "test") for row in read_jsonl(watched.data / f"{split}.jsonl")
    ]
    assert [request for request in requests if request in log or json.dumps(request)[1:-1] in log] == []


def test_the_workers_units_are_traced(watched: Watched) -> None:
    query = select(UNITS.c.id).where(UNITS.c.state.in_((DONE, FAILED)))
    with watched.home.ledger() as db, db.read() as connection:
        lived = set(connection.scalars(query))
    wait_until(lambda: set(watched.traces.units()) >= lived, "the last spans", 20)
    assert {resource["service.instance.id"] for resource in watched.traces.resources} == {WORKER}
    assert not [body for body in watched.traces.bodies if tells(body, (REDIS_PASSWORD, KEY, PASSWORD))]


@pytest.mark.parametrize(
    ("options", "settings", "says"),
    [
        ([], {}, "STARMILL_DASHBOARD_PASSWORD"),
        ([], {"STARMILL_DASHBOARD_PASSWORD": ""}, "STARMILL_DASHBOARD_PASSWORD"),
        (["--basic-auth=a:b"], {"STARMILL_DASHBOARD_PASSWORD": PASSWORD}, "basic_auth"),
        ([], {"STARMILL_DASHBOARD_PASSWORD": PASSWORD, "FLOWER_BASIC_AUTH": "a:b"}, "basic_auth"),
    ],
    ids=["none", "empty", "argument", "variable"],
)
def test_flower_does_not_start_unsafely(
    tmp_path: Path, options: list[str], settings: dict[str, str], says: str
) -> None:
    home = Home(tmp_path / "home", settings)
    ended: Any = subprocess.run(
        [*CELERY, "flower", "--port=0", *options], env=home.environment, cwd=tmp_path, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith("starmill flower: ")
    assert says in line
    assert PASSWORD not in line


def paths(watched: Watched) -> list[str]:
    """One path for each of Flower's routes, with names that exist where it takes one."""
    task = next(iter(watched.flower.json("/api/tasks?limit=1")))
    requested = []
    for pattern, handler in ROUTES:
        name = quote(WORKER) if "orker" in handler.__name__ else task
        path = re.sub(r"\(\.[+*]\)", name, pattern).replace("/?", "").rstrip("$").replace(".*", "/nothing")
        requested.append(path if "static" not in path else "/static/css/flower.css")
    assert len(requested) > 30
    assert {"/metrics", "/healthcheck", "/api/workers", f"/worker/{quote(WORKER)}"} <= set(requested)
    return requested
