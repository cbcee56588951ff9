"""Readings of everything that runs, folded into phases."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import redis
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from producer.progress.status import read_status
from storage.database import Database
from storage.ledger import runs
from storage.schema import GENERATIONS
from tests.bench.process_tree import processes_below, proportional_bytes
from tests.bench.soak.soaked import CALLS_AT_ONCE, SoakedStarmill

SAMPLE_SECONDS = 1.0
# The kernel walks all pages of each process for it.
PROPORTIONAL_SECONDS = 5.0
_DATABASE = """
    SELECT xact_commit AS commits, xact_rollback AS rollbacks,
      pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS wal_bytes
    FROM pg_stat_database WHERE datname = current_database()
"""
_TABLES = """
    SELECT relname, n_tup_ins AS inserted, n_tup_upd AS updated, n_tup_hot_upd AS hot, n_tup_del AS deleted,
      n_dead_tup AS dead, autovacuum_count AS vacuums FROM pg_stat_user_tables
"""
_GAUGES = """
    SELECT pg_database_size(current_database()) AS bytes,
      (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections
"""


@dataclass
class Phase:
    """Costs of one part of the run. Memory is the most of a process of each kind, in MB; `counted` are
    differences of PostgreSQL's counters, by table and action. `status_ms` are by the clock, `status_cpu_ms`
    what the reader and its backend computed, which a busy machine does not change."""

    name: str
    began: float
    ended: float = 0.0
    units: int = 0
    cpu_s: dict[str, float] = field(default_factory=dict)
    resident_mb: dict[str, float] = field(default_factory=dict)
    proportional_mb: dict[str, float] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    database_mb: float = 0.0
    dead_rows: int = 0
    connections: int = 0
    redis_mb: float = 0.0
    status_ms: list[float] = field(default_factory=list)
    status_cpu_ms: list[float] = field(default_factory=list)
    in_flight: int = 0
    paid_again: int = 0

    @property
    def seconds(self) -> float:
        return max(1e-3, self.ended - self.began)


class Sampler:
    """Reads all parts about every second into the current phase."""

    def __init__(self, starmill: SoakedStarmill, db: Database) -> None:
        self._starmill = starmill
        self._db = db
        self._redis = redis.Redis.from_url(starmill.redis_url, socket_timeout=2)
        self._cpu: dict[tuple[str, int], float] = {}
        self._counters: dict[str, int] = {}
        self._proportional_at = 0.0
        self._done = 0
        self._paid_again = 0
        self.run = ""
        self.phases: list[Phase] = []
        self.timeline: list[dict[str, Any]] = []

    @property
    def phase(self) -> Phase:
        return self.phases[-1]

    @property
    def done(self) -> int:
        """Units that are final."""
        return self._done

    def begin(self, name: str) -> Phase:
        """End the current phase, if there is one, and begin another."""
        self.end()
        self.phases.append(Phase(name, time.time()))
        return self.phase

    def end(self) -> None:
        if not self.phases or self.phase.ended:
            return
        self.phase.ended = time.time()
        again = int(self._starmill.server.totals()["paid_again"])
        self.phase.paid_again, self._paid_again = again - self._paid_again, again

    def sample(self) -> None:
        """Read what is there; a process that was killed is left out."""
        self._read_processes()
        with suppress(psycopg.Error):
            self._read_postgres()
        with suppress(redis.RedisError):
            self.phase.redis_mb = max(self.phase.redis_mb, self._redis.info("memory")["used_memory"] / 1e6)
        with suppress(SQLAlchemyError):
            self._read_status()
        self.timeline.append({
            "at": time.time(), "units": self._done, "database_mb": self.phase.database_mb,
            "dead_rows": self.phase.dead_rows,
        })  # fmt: skip

    def calls_in_flight(self, pid: int | None) -> int:
        """Return how many calls may be in flight, of all workers or of one process: those that are claimed,
        as far as the limit lets them begin. The server does not know which of its answers have arrived."""
        owner = GENERATIONS.c.lease_owner
        mine = owner.contains(f":{pid}:") if pid else owner.is_not(None)
        with self._db.read() as connection:
            claimed = connection.execute(select(func.count()).where(GENERATIONS.c.done.is_(False), mine))
            return min(int(claimed.scalar_one()), CALLS_AT_ONCE)

    def _read_processes(self) -> None:
        phase = self.phase
        proportional = time.monotonic() - self._proportional_at > PROPORTIONAL_SECONDS
        if proportional:
            self._proportional_at = time.monotonic()
        for name, root in self._starmill.pids().items():
            kind = name.partition("-")[0]
            tree = processes_below(root)
            for pid, (cpu, resident) in tree.items():
                spent = cpu - self._cpu.get((kind, pid), 0.0)
                self._cpu[(kind, pid)] = cpu
                phase.cpu_s[kind] = phase.cpu_s.get(kind, 0.0) + max(0.0, spent)
                # Backends of PostgreSQL count its shared memory each.
                if kind != "PostgreSQL":
                    phase.resident_mb[kind] = max(phase.resident_mb.get(kind, 0.0), resident / 1e6)
            if proportional:
                most = sum(map(proportional_bytes, tree)) / 1e6
                phase.proportional_mb[kind] = max(phase.proportional_mb.get(kind, 0.0), most)

    def _read_postgres(self) -> None:
        with psycopg.connect(
            self._starmill.database, autocommit=True, connect_timeout=2, row_factory=psycopg.rows.dict_row
        ) as connection:
            counters: Counter[str] = Counter()
            for row in connection.execute(_DATABASE).fetchall():
                counters.update(row)
            dead = 0
            for row in connection.execute(_TABLES).fetchall():
                table, dead = row.pop("relname"), dead + row.pop("dead")
                counters.update({f"{table} {action}": number for action, number in row.items()})
            gauges = connection.execute(_GAUGES).fetchone() or {}
        phase = self.phase
        for name, value in counters.items():
            before = self._counters.get(name, 0)
            # A recovery after a kill begins these counters anew.
            phase.counted[name] = phase.counted.get(name, 0) + (value - before if value >= before else value)
        self._counters = dict(counters)
        phase.database_mb, phase.dead_rows = gauges["bytes"] / 1e6, dead
        phase.connections = max(phase.connections, gauges["connections"])

    def _read_status(self) -> None:
        if not self.run:
            planned = runs.list_runs(self._db)
            if not planned:
                return
            self.run = planned[0].id
        run = runs.load_run(self._db, self.run)
        with self._db.read() as connection:
            backend = int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        at, spent = time.perf_counter(), time.thread_time() + _on_processor(backend)
        status = read_status(self._db, run, self._db.clock())
        self.phase.status_ms.append(1000 * (time.perf_counter() - at))
        self.phase.status_cpu_ms.append(1000 * (time.thread_time() + _on_processor(backend) - spent))
        done = status.funnel.total()
        final = sum(done[state] for state in ("done", "failed", "skipped"))
        self.phase.units += final - self._done
        self._done = final


def _on_processor(pid: int) -> float:
    """Return the seconds that a process has computed, to the nanosecond; 0 where the kernel does not tell."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    return 0.0
