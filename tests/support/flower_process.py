"""Flower and a worker as users start them, for fixtures."""

from __future__ import annotations

import base64
import http.client
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.pipeline import Home, wait_until

CELERY = [sys.executable, "-m", "celery", "-A", "worker"]
PASSWORD = "a-password-that-nobody-may-see"
ARGUMENTS = re.compile(
    r"(?P<run>\S+) (?P<step>\S+), rows? (?P<row>\S+)(?: to (?P<last>\S+) \((?P<rows>\d+)\))?, "
    r"units (?P<first>\d+)(?: \+(?P<more>\d+))?"
)


@dataclass(frozen=True)
class FlowerProcess:
    """A running Flower."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str, login: str | None = f"starmill:{PASSWORD}", **options: Any) -> tuple[int, bytes]:
        """Status and body."""
        return fetch(self.url + path, login, **options)

    def json(self, path: str) -> Any:
        status, body = self.get(path)
        assert status == 200, body
        return json.loads(body)

    def tasks(self, run: str) -> list[dict[str, Any]]:
        """Return the tasks of a run from Flower's API."""
        tasks = self.json("/api/tasks?limit=100000").values()
        return [task for task in tasks if task["kwargs"] == f"run {run}"]

    def memory_mib(self) -> float:
        """Return the resident memory in MiB. Linux only."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


def fetch(
    url: str,
    login: str | None,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    source: str = "127.0.0.1",
) -> tuple[int, bytes]:
    """Status and body; `login` is `user:password`, `source` the address of this client."""
    sent = dict(headers or {})
    if login is not None:
        sent["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    request = urllib.request.Request(url, headers=sent, method=method)
    try:
        with urllib.request.build_opener(_From(source)).open(request, timeout=30) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class _From(urllib.request.HTTPHandler):
    def __init__(self, source: str) -> None:
        super().__init__()
        self._connection: Any = partial(http.client.HTTPConnection, source_address=(source, 0))

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, req)


def units_in(task: Mapping[str, Any]) -> int:
    """Return how many units a task carries, by the arguments that Flower shows."""
    return 1 + int(arguments(task)["more"] or 0)


def arguments(task: Mapping[str, Any]) -> re.Match[str]:
    """Return the parts of the arguments that Flower shows."""
    match = ARGUMENTS.fullmatch(task["args"])
    assert match, task["args"]
    return match


@contextmanager
def running_flower(home: Home, *options: str) -> Iterator[FlowerProcess]:
    """`celery -A worker flower` with the home's settings and PASSWORD, on a free port."""
    log = home.path.parent / "flower.log"
    environment = home.environment | {"STARMILL_DASHBOARD_PASSWORD": PASSWORD}
    command = [*CELERY, "flower", "--port=0", *options]
    with _started(command, environment, log) as process:
        match = wait_until(lambda: _listens(log, process), "Flower listens")
        yield FlowerProcess(match[1], process, log)


@contextmanager
def running_worker(home: Home, queues: str, name: str) -> Iterator[Path]:
    """A worker of these queues, which is ready; and its log."""
    log = home.path.parent / "worker.log"
    command = [*CELERY, "worker", "-Q", queues, "-P", "threads", "-c", "6", "-n", name,
               "--without-gossip", "--without-mingle"]  # fmt: skip
    with _started(command, home.environment, log) as process:
        wait_until(lambda: _is_ready(log, process), "the worker is ready")
        yield log


@contextmanager
def _started(
    command: list[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, cwd=log.parent, stdout=output, stderr=output) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _listens(log: Path, process: subprocess.Popen[bytes]) -> re.Match[str] | None:
    assert process.poll() is None, log.read_text()
    return re.search(r"Visit me at (http://127\.0\.0\.1:\d+)", log.read_text())


def _is_ready(log: Path, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, log.read_text()
    return " ready." in log.read_text()
