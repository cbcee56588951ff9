"""Runs against the scripted provider: one stack of Redis, feeder and worker for many cases at once."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from storage.database import Database
from storage.ledger import counts
from storage.ledger.budget import read_budget
from storage.schema import EXAMPLES, GENERATIONS, READY, REJECTIONS, RUNS, UNITS
from tests.support.chores import write_data
from tests.support.pipeline import STARMILL, Home, wait_until
from tests.support.provider_experiments import Case, write_case
from tests.support.scripted_provider import STUDENT, ScriptedProvider, running_provider
from tests.support.scripted_replies import row_of
from tests.support.services import running_valkey
from tests.support.workers import celery_worker

STARTS_AT_ONCE = 3


@dataclass(frozen=True)
class UnitSeen:
    row: str
    stage: str
    state: str
    reason: str | None
    detail: str | None
    result: dict[str, Any] | None


@dataclass(frozen=True)
class Seen:
    """The outcome of a case. `exit_code` is None if `starmill run` had not ended in time; `seconds` is how
    long it took; `dollars` are those of the ledger, with what calls without an answer may have cost;
    `provider` is the provider's own account."""

    case: str
    home: Home
    run: str
    exit_code: int | None
    seconds: float
    stdout: str
    stderr: str
    state: str
    message: str
    units: Sequence[UnitSeen]
    leased: int
    dollars: float
    generations: Sequence[Mapping[str, Any]]
    rejections: Counter[str]
    provider: Mapping[str, Any]

    @property
    def printed(self) -> str:
        """All that `starmill run` wrote into its pipes."""
        return self.stdout + self.stderr

    @property
    def states(self) -> Counter[str]:
        return Counter(unit.state for unit in self.units)

    @property
    def failed(self) -> dict[str, str]:
        """The reason of each row that failed."""
        return {unit.row: str(unit.reason) for unit in self.units if unit.state == "failed"}

    @property
    def rows_lost(self) -> int:
        """Rows that failed, or that were not final when the case was over."""
        return len({unit.row for unit in self.units if unit.state in ("failed", "ready", "waiting")})

    def detail(self, row: str) -> str:
        return next(str(unit.detail) for unit in self.units if unit.row == row and unit.state == "failed")

    def result(self, row: str, stage: str) -> dict[str, Any]:
        """Return what is stored of a unit; nothing if it is not done."""
        of_row = (unit for unit in self.units if unit.row == row and unit.stage == stage)
        return next((unit.result or {} for unit in of_row), {})

    def requests(self, row: str) -> list[dict[str, Any]]:
        """Return what the provider got for a row, in order."""
        return [call for call in self.provider["calls"] if call["row"] == row]


SEEN = pytest.StashKey[Seen]()  # where a test leaves what it saw, for whoever makes a table of it


@dataclass
class Stack:
    """A running Redis, feeder, worker and provider. `data` holds the rows of all cases."""

    home: Home
    data: Path
    provider: ScriptedProvider
    runs: dict[str, tuple[subprocess.Popen[bytes], float, Path, Path]] = field(default_factory=dict)

    def start(self, case: Case) -> None:
        """Begin `starmill run`, and return once the run is planned or refused."""
        changes = [f"{key}={json.dumps(value)}" for key, value in case.get("set", {}).items()]
        options = [word for change in changes for word in ("--set", change)]
        self.start_experiment(str(case["name"]), write_case(self.data, self.provider, case), *options)

    def start_experiment(self, name: str, experiment: Path, *options: str) -> None:
        out, err = (self.home.path.with_name(f"{name}.{stream}") for stream in ("out", "err"))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [str(STARMILL), "run", str(experiment), *options], env=self.home.environment,
                cwd=self.home.path.parent, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            )  # fmt: skip
        self.runs[name] = (process, time.monotonic(), out, err)
        wait_until(
            lambda: process.poll() is not None or b"units planned" in err.read_bytes(), f"{name} starts"
        )

    def start_all(self, cases: Sequence[Case]) -> None:
        """Begin all; the first alone, because it builds the index that the others share."""
        self.start(cases[0])
        with ThreadPoolExecutor(STARTS_AT_ONCE) as pool:
            list(pool.map(self.start, cases[1:]))

    def seen(self, name: str, seconds: float) -> Seen:
        """Wait until the run of a case ends, or is `seconds` old; then read what came of it."""
        process, began, out, err = self.runs[name]
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, began + seconds - time.monotonic()))
        took = time.monotonic() - began
        with self.home.ledger() as db:
            run, state, message = _newest_run(db, name)
            seen = Seen(
                name, self.home, run, process.poll(), took, out.read_text(errors="replace"),
                err.read_text(errors="replace"), state, message, _units(db, run), _leased(db, run),
                counts.spending(db, run).dollars + read_budget(db, run).unanswered / 1e9,
                _generations(db, run), _rejections(db, run), self.provider.stats(name),
            )  # fmt: skip
        if process.poll() is None:
            process.kill()
            process.wait()
            self.home.starmill("pause", run, expect=None)
        return seen

    @property
    def worker_log(self) -> str:
        return self.home.path.with_name("worker-w.log").read_text(errors="replace")


@contextmanager
def provider_stack(
    folder: Path, cases: Sequence[Case], settings: Mapping[str, str] | None = None, threads: int = 64
) -> Iterator[Stack]:
    """`settings` are further variables of the home, such as another database. Each case has queues of its
    own, so that none waits for another."""
    data = write_data(folder / "data", train=1, test=1)
    queues = ["retrieve", "judge"]
    for case in cases:
        queues += [f"model.{case['name']}", f"model.{case['name']}{STUDENT}"]
    with ExitStack() as stack:
        provider = stack.enter_context(running_provider(cases))
        redis_url = stack.enter_context(running_valkey())
        home = Home(
            folder / "home",
            {"STARMILL_REDIS_URL": redis_url, "STARMILL_LEASE_SECONDS": "4", **(settings or {})},
        )
        home.path.mkdir()
        with home.ledger():
            pass  # its tables are made: a worker does not start without them
        feeder = stack.enter_context(_feeder(home))
        stack.enter_context(celery_worker(home, queues, threads))
        running = Stack(home, data, provider)
        try:
            yield running
        finally:
            for process in (*(run[0] for run in running.runs.values()), feeder):
                process.kill()
                process.wait()


@contextmanager
def _feeder(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    log = home.path.with_name("feeder.log")
    environment = {**home.environment, "PATH": os.environ["PATH"]}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [str(STARMILL), "feed"], env=environment, cwd=home.path.parent, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output,
        ) as process,
    ):  # fmt: skip
        yield process


def _newest_run(db: Database, name: str) -> tuple[str, str, str]:
    query = select(RUNS.c.id, RUNS.c.state, RUNS.c.message).where(RUNS.c.name == name)
    with db.read() as connection:
        row = connection.execute(query.order_by(RUNS.c.created_at.desc())).first()
    return (row.id, row.state, row.message) if row else ("", "not planned", "")


def _units(db: Database, run: str) -> list[UnitSeen]:
    query = (
        select(
            EXAMPLES.c.request, UNITS.c.stage, UNITS.c.state, UNITS.c.reason, UNITS.c.detail, UNITS.c.result
        )
        .join_from(UNITS, EXAMPLES, UNITS.c.example_id == EXAMPLES.c.id)
        .where(UNITS.c.run_id == run)
        .order_by(UNITS.c.id)
    )
    with db.read() as connection:
        return [UnitSeen(row_of(row.request), *row[1:]) for row in connection.execute(query)]


def _leased(db: Database, run: str) -> int:
    held = (UNITS.c.state == READY) & UNITS.c.lease_owner.is_not(None)
    with db.read() as connection:
        query = select(func.count()).select_from(UNITS).where(UNITS.c.run_id == run, held)
        return int(connection.execute(query).scalar_one())


def _generations(db: Database, run: str) -> list[dict[str, Any]]:
    query = select(GENERATIONS).where(GENERATIONS.c.run_id == run, GENERATIONS.c.done.is_(True))
    with db.read() as connection:
        return [dict(row._mapping) for row in connection.execute(query)]


def _rejections(db: Database, run: str) -> Counter[str]:
    query = select(REJECTIONS.c.reason).where(REJECTIONS.c.run_id == run)
    with db.read() as connection:
        return Counter(connection.scalars(query))
