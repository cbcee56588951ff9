"""Whole runs through the real command: a home, its processes, and what the ledger says of them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from storage.database import Database
from storage.ledger import counts
from storage.ledger import runs as ledger_runs
from storage.schema import FINAL, GENERATIONS
from tests.openai_server.process import OpenAIServer
from tests.support.chores import read_jsonl
from tests.support.fork_server import fork_server

STARMILL = Path(sys.executable).with_name("starmill")
PATIENCE = 120.0
# In the command of the local worker that asks models and judges; searches have one of their own.
MODEL_WORKER = "-Q judge"
INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "CI")


@dataclass(frozen=True)
class Home:
    """A STARMILL_HOME, and the command run with it. `settings` are other variables of its environment;
    with `flower` local runs start Flower."""

    path: Path
    settings: dict[str, str] = field(default_factory=dict)
    flower: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the developer's own: no settings, no keys."""
        kept = {
            name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG", "CI") if name in os.environ
        }
        return kept | {"STARMILL_HOME": str(self.path)} | self.settings

    def starmill(
        self, *arguments: object, expect: int = 0, seconds: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """The finished command; `expect` is its exit code, `seconds` how long it may take."""
        command = self._command(arguments)
        done = fork_server().run(command, self.environment, self.path.parent, seconds)
        assert expect in (None, done.returncode), (
            f"{command[1:]} ended with {done.returncode}:\n{done.stderr}"
        )
        return done

    def json(self, *arguments: object, expect: int = 0) -> Any:
        """The one JSON value on standard output."""
        return json.loads(self.starmill(*arguments, "--json", expect=expect).stdout)

    def started(self, *arguments: object) -> AbstractContextManager[subprocess.Popen[str]]:
        """The command of starmill while it runs."""
        return self.running(self._command(arguments))

    @contextmanager
    def running(self, command: Sequence[object]) -> Iterator[subprocess.Popen[str]]:
        """The command while it runs; neither it nor what it started outlives the block."""
        with subprocess.Popen(
            list(map(str, command)), env=self.environment, cwd=self.path.parent, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()
                for pid in self.processes():
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def _command(self, arguments: Sequence[object]) -> list[str]:
        """Flower is started only by tests that look at it: its start costs more than many a run."""
        command = [str(STARMILL), *map(str, arguments)]
        return command + ["--no-flower"] * ("--local" in command and not self.flower)

    @contextmanager
    def ledger(self) -> Iterator[Database]:
        default = f"sqlite:///{self.path / 'ledger.db'}"
        db = Database(self.settings.get("STARMILL_DATABASE_URL") or default)
        try:
            db.migrate()
            yield db
        finally:
            db.close()

    def processes(self) -> dict[int, str]:
        """Every living process that was started with this home, by its environment: pid and command."""
        shown = subprocess.run(
            ["ps", "axeww", "-o", "pid=,command="], capture_output=True, text=True, check=True
        )
        commands = {}
        for line in shown.stdout.splitlines():
            pid, _, command = line.strip().partition(" ")
            if f"STARMILL_HOME={self.path} " in f"{command} ":
                commands[int(pid)] = command
        return commands

    def service(self, word: str) -> int:
        """Pid of the living service of a local run whose command holds `word`; waits for its next start."""
        [pid] = wait_until(lambda: self.services(word), f"a process of {word}")
        return pid

    def services(self, word: str) -> set[int]:
        """Pids of these services that are alive."""
        lines = (self.path / "local" / "pids").read_text().splitlines()
        listed = {int(line.partition("\t")[0]) for line in lines if word in line}
        return listed & self.processes().keys()

    def redis_url(self) -> str:
        """Return the URL of the embedded Redis of a local run."""
        config = dict(
            line.split(" ", 1)
            for line in (self.path / "local" / "redis" / "redis.conf").read_text().splitlines()
        )
        return f"redis://:{config['requirepass']}@127.0.0.1:{config['port']}/0"

    def export(self, run: str, what: str) -> list[dict[str, Any]]:
        """Exported rows less the name of their run."""
        path = self.path / f"{what}.jsonl"
        self.starmill("export", run, "--what", what, "--format", "jsonl", "-o", path)
        rows = read_jsonl(path)
        for row in rows:
            row.get("provenance", {}).pop("run", None)
        return rows


@dataclass(frozen=True)
class Ended:
    """A run that has ended, the experiment of it, and what `starmill run` printed."""

    home: Home
    experiment: Path
    run: str
    completed: subprocess.CompletedProcess[str]


def run_locally(home: Home, experiment: Path, expect: int = 0) -> Ended:
    completed = home.starmill("run", experiment, "--local", expect=expect)
    return Ended(home, experiment, home.json("status")["run"], completed)


def home_with_indexes_of(other: Home, path: Path, **settings: str) -> Home:
    """A home without runs, whose passages need not be encoded again."""
    shutil.copytree(other.path / "indexes", path / "indexes")
    return Home(path, settings)


def wait_until(true: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first value that is true."""
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.03)
    return value


def units(db: Database) -> Counter[str]:
    """Return the counts of units of the newest run by state."""
    runs = ledger_runs.list_runs(db)
    return counts.funnel(db, runs[0].id, time.time()).total() if runs else Counter()


def final_share(states: Counter[str]) -> float:
    return sum(states[state] for state in FINAL) / max(1, states.total())


def bought(db: Database) -> set[str]:
    """The calls whose answers are committed, as the model server counts them."""
    query = select(GENERATIONS.c.request).where(GENERATIONS.c.done.is_(True))
    with db.read() as connection:
        return {as_counted(asked) for asked in connection.scalars(query)}


def as_counted(asked: dict[str, Any]) -> str:
    """A stored request as the model server counts it."""
    words = {name: asked[name] for name in ("messages", "prompt") if name in asked}
    body = {"model": asked["model"], **words, **asked["params"]}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def paid(server: OpenAIServer) -> Counter[str]:
    """Return how often each call was answered."""
    return Counter(server.stats()["paid"])
