"""A Starmill that is being measured: what its ledger, its processes and its model server say of it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from celery import Celery
from sqlalchemy import func, select

from producer.local.supervisor import Supervisor
from storage.broker import task_name
from storage.database import Database
from storage.schema import DONE, FINAL, TRAIN, UNITS
from storage.settings import Settings
from tests.bench.load import Load
from tests.bench.measured import Measured, cpu_seconds, measured, peak_megabytes
from tests.bench.plain import GATE
from tests.openai_server.process import OpenAIServer
from tests.support.pipeline import bought, paid

STAGE = "augment"
RUN = "bench"
NEAR_SECONDS, FAR_SECONDS = 0.02, 0.2


@dataclass
class Installation:
    """Started, connected and warm. The run is planned, and begins when it is told to."""

    load: Load
    server: OpenAIServer
    home: Path
    settings: Settings
    db: Database
    supervisor: Supervisor

    def begin(self) -> None:
        self.server.configure(**self.load.behaviour)
        self.server.forget()
        self._before = self._cpu()
        (self.home / GATE).touch()

    def wait_for(self, rows: int) -> None:
        """Wait until this many units are final in the ledger. Restart each process that dies meanwhile."""
        deadline = time.monotonic() + self.load.patience
        while (final := self.final()) < rows:
            self.supervisor.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{final} of {rows} rows were final after {self.load.patience:.0f} s")
            # To look costs processor time, which is short here; the end must be seen when it comes.
            time.sleep(NEAR_SECONDS if rows - final <= 2 * self.load.concurrency else FAR_SECONDS)
        self.ended_at = time.time()

    def kill(self, name: str) -> None:
        os.kill(self._pid(name), signal.SIGKILL)

    def final(self, run: str = RUN) -> int:
        """Rows that are done or have failed."""
        return self._count(UNITS.c.state.in_(FINAL), run)

    def bought(self) -> set[str]:
        """Calls whose answers are committed, as the server counts them."""
        return bought(self.db)

    def paid(self) -> dict[str, int]:
        return paid(self.server)

    def longest_pause(self, since: float) -> float:
        """The most seconds in which no row ended, from `since` (seconds since the epoch) to the end."""
        query = select(UNITS.c.finished_at).where(self._rows(), UNITS.c.finished_at > since)
        with self.db.read() as connection:
            times = [since, *sorted(connection.scalars(query))]
        return max((later - sooner for sooner, later in pairwise(times)), default=0.0)

    def deliveries(self) -> int:
        """Messages that the workers took, those of the warm-up included."""
        with Celery(broker=self.settings.broker) as app:
            replies = app.control.inspect(timeout=5, limit=self.load.workers).stats() or {}
        return sum(stats["total"].get(task_name(STAGE), 0) for stats in replies.values())

    def measured(self, **more: float) -> Measured:
        after, stats = self._cpu(), self.server.stats()
        spent = {name: after[name] - self._before[name] for name in after}
        workers = [name for name in spent if name.startswith("worker")]
        per_thousand = 1000 / self.load.calls
        return measured(
            self.load, stats, wall=self.ended_at - stats["first_call_at"],
            finished=self._count(UNITS.c.state == DONE), null=self._null_rows(),
            cpu_s_per_1000=(sum(spent.values()) - spent["redis"]) * per_thousand,
            feeder_cpu_s_per_1000=spent["feeder"] * per_thousand,
            redis_cpu_s_per_1000=spent["redis"] * per_thousand,
            peak_mb=max(peak_megabytes(self._pid(name)) for name in workers), **more,
        )  # fmt: skip

    def _null_rows(self) -> int:
        query = select(UNITS.c.result).where(self._rows(), UNITS.c.state == DONE)
        with self.db.read() as connection:
            return sum(not result["augmentation"] for result in connection.scalars(query))

    def _count(self, condition: Any, run: str = RUN) -> int:
        query = select(func.count()).where(self._rows(run), condition)
        with self.db.read() as connection:
            return int(connection.execute(query).scalar_one())

    @staticmethod
    def _rows(run: str = RUN) -> Any:
        return (UNITS.c.run_id == run) & (UNITS.c.split == TRAIN) & (UNITS.c.stage == STAGE)

    def _cpu(self) -> dict[str, float]:
        return {service.name: cpu_seconds(self._pid(service.name)) for service in self.supervisor.services}

    def _pid(self, name: str) -> int:
        [process] = [service.process for service in self.supervisor.services if service.name == name]
        assert process is not None
        return process.pid
