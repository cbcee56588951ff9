"""`starmill serve` as a process, asked by real HTTP; and a ledger that has something to show."""

from __future__ import annotations

import base64
import http.client
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from models.core.types import Rejection
from storage.database import Database
from storage.ledger import runs
from storage.ledger.claims import ClaimedUnit
from storage.schema import TEST
from tests.support.ledger_data import LedgerRun, answered, example, finish_train, judged, retrieved
from tests.support.pipeline import STARMILL, Home

PASSWORD = "correct horse battery"
HOSTILE = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>'
RUN, PAUSED_RUN = "small-1", "paper-2"
SECONDS = 60.0


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    text: str


@dataclass(frozen=True)
class Served:
    """The page at `url`, and the process behind it."""

    url: str
    process: subprocess.Popen[str]
    startup_output: str

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    def ask(
        self,
        path: str,
        method: str = "GET",
        *,
        password: str | None = None,
        bearer: str | None = None,
        cookie: str | None = None,
        form: dict[str, str] | None = None,
        read: bool = True,
        **headers: str,
    ) -> Reply:
        """Header names are given with underscores; `read` is False for what does not end."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if password is not None:
            given["Authorization"] = "Basic " + base64.b64encode(f"any:{password}".encode()).decode()
        if bearer is not None:
            given["Authorization"] = f"Bearer {bearer}"
        if cookie is not None:
            given["Cookie"] = cookie
        body = None if form is None else urlencode(form)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request(method, path, body, given)
            reply = connection.getresponse()
            text = reply.read().decode() if read else ""
            return Reply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, text)
        finally:
            connection.close()

    def log_in(self) -> str:
        """The cookie of a session."""
        reply = self.ask("/login", "POST", form={"password": PASSWORD})
        assert reply.status == 303
        return reply.headers["set-cookie"].partition(";")[0]

    def events(self, path: str, count: int, **asked: Any) -> list[str]:
        """The first pages that a stream sends."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        token = base64.b64encode(f"any:{PASSWORD}".encode()).decode()
        try:
            connection.request("GET", path, headers={"Authorization": f"Basic {token}", **asked})
            reply = connection.getresponse()
            assert reply.status == 200
            assert reply.headers["content-type"].startswith("text/event-stream")
            pages: list[str] = []
            lines: list[str] = []
            while len(pages) < count:
                line = reply.readline().decode().rstrip("\n")
                if line.startswith("data: "):
                    lines.append(line.removeprefix("data: "))
                elif not line and lines:
                    pages.append("\n".join(lines))
                    lines = []
            return pages
        finally:
            connection.close()


@contextmanager
def served(home: Home, *arguments: str, password: str | None = PASSWORD) -> Iterator[Served]:
    """Start the page on a free port. End it by SIGTERM, without output and with exit code 0."""
    environment = home.environment | ({"STARMILL_DASHBOARD_PASSWORD": password} if password else {})
    command = [str(STARMILL), "serve", "--port", "0", *arguments]
    with subprocess.Popen(
        command, env=environment, cwd=home.path.parent, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        try:
            stderr = process.stderr.readline()
            if password is None:
                stderr += process.stderr.readline()
            match = re.search(r"http://\S+", stderr)
            assert match, stderr + process.stderr.read()
            yield Served(match.group(), process, stderr)
            process.terminate()
            ended = (*process.communicate(timeout=SECONDS), process.returncode)
            assert ended == ("", "", 0), ended
        finally:
            process.kill()


def fill(db: Database, rows: int = 30) -> None:
    """A run with everything in it, the last answers still open; and one that is paused."""
    price = {"input": 1, "output": 2}
    teacher = {"backend": "openai", "model": "teacher_1", "rpm": 600, "price": price}
    grid = {"shots": [0, 2], "retrieval": [False, True], "rationale": ["none", "star"]}
    asked = [example(row, request=f"sort {row} {HOSTILE}") for row in range(rows)]
    train = [example(row) for row in range(5)]
    run = LedgerRun.plan(db, train, asked, RUN, grid=grid, teacher=teacher, budget_usd=0.9)
    finish_train(run)
    run.finish(TEST, "retrieve", retrieved)
    run.reject(TEST, "answer", Rejection("html", f"HTML {HOSTILE}"), HOSTILE)
    run.finish(TEST, "answer", _answer)
    run.finish(TEST, "judge", judged)
    LedgerRun.plan(db, train, asked[:1], PAUSED_RUN, grid=grid, seed=4)
    runs.stop_run(db, PAUSED_RUN, "paused by hand", paused=True)


def _answer(unit: ClaimedUnit) -> Any:
    row = unit.example.row
    if row % 9 == 0:
        return "refusal"
    if row % 4 == 0:
        return None
    right = (row * 7 + len(unit.variant)) % 5 < 2
    return answered(unit.example.reference if right else f"x = sorted({HOSTILE})")
