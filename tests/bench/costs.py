"""python -m tests.bench.costs [ROWS]: what a unit costs each part of an installation, as one JSON object.

A whole run of ROWS train rows (default 400) and a tenth as many test rows, on PostgreSQL and Redis, with one
worker, one feed service, and a model that answers at once. deploy/SCALING.md is reckoned from it. What the
worker pays once (torch, the encoder) is in the figure: measure two sizes, and take the difference.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import redis

from producer.experiments.datasets import read_dataset
from producer.experiments.load import load_experiment
from producer.feeding.feeder import Feeder
from producer.index.index_progress import bring_up_to_date
from storage.database import Database
from storage.ledger import counts, runs
from storage.settings import Settings
from tests.bench import machine
from tests.bench.measured import cpu_seconds, peak_megabytes
from tests.openai_server.process import running
from tests.support.chores import write_data, write_experiment
from tests.support.encoders import tiny_bert
from tests.support.pipeline import Home, wait_until
from tests.support.services import running_postgres, running_valkey
from tests.support.workers import celery_worker

TABLES = ("example", "unit", "generation", "rejection")
QUEUE = "model.large"
THREADS = 24


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="costs-")))
        data = write_data(folder / "data", train=rows, test=rows // 10)
        server = stack.enter_context(running("--references", str(data / "references.jsonl")))
        redis_url = stack.enter_context(running_valkey())
        url = stack.enter_context(stack.enter_context(running_postgres()).new_database())
        home = Home(folder / "home", {"STARMILL_REDIS_URL": redis_url, "STARMILL_DATABASE_URL": url})
        settings = Settings(home=home.path, redis_url=redis_url, database_url=url, _env_file=None)  # type: ignore[call-arg]
        db = stack.enter_context(home.ledger())
        planned, planning_cpu = plan(db, settings, data, server.url, tiny_bert(folder / "encoder"))
        broker = stack.enter_context(redis.Redis.from_url(redis_url))
        ledger = stack.enter_context(psycopg.connect(url, autocommit=True))
        message = bytes_of_a_message(db, settings, broker)
        before = state_of(broker, ledger)
        worker = stack.enter_context(celery_worker(home, threads=THREADS))
        service = stack.enter_context(home.started("feed"))
        idle = wait_until_listening(broker, worker.pid), cpu_seconds(service.pid)
        runs.start_run(db, "run", time.time())
        at = time.monotonic()
        while runs.run_state(db, "run")[0] != "finished":
            time.sleep(1)  # to look more often would be what is measured
        wall = time.monotonic() - at
        spent = counts.spending(db, "run")
        after = state_of(broker, ledger)
        figures = {
            "machine": machine.facts(),
            "units": planned, "calls": spent.calls, "wall_s": wall, "units_per_s": planned / wall,
            "planning_us_of_cpu_per_unit": 1e6 * planning_cpu / planned,
            "worker_ms_of_cpu_per_unit": 1e3 * (cpu_seconds(worker.pid) - idle[0]) / planned,
            "worker_mb": peak_megabytes(worker.pid),
            "feeder_share_of_a_core": (cpu_seconds(service.pid) - idle[1]) / wall,
            "feeder_mb": peak_megabytes(service.pid),
            "redis_bytes_per_message": message,
            **{f"{name}_per_unit": (after[name] - before[name]) / planned for name in after},
            "table_bytes_per_row": sizes(ledger),
            "ledger_bytes_per_unit": whole(ledger) / planned,
        }  # fmt: skip
    sys.stdout.write(json.dumps(figures, indent=2, default=str) + "\n")


def plan(db: Database, settings: Settings, data: Path, url: str, encoder: Path) -> tuple[int, float]:
    """Return the number of units, and the processor time that planning them took."""
    endpoint = {"base_url": url, "max_concurrency": 64}
    path = write_experiment(
        data, url, rationale={"passes": 1},
        passages={"source": "jsonl", "path": "passages.jsonl", "encoder": str(encoder)},
        teacher={"backend": "openai", "model": "large", **endpoint},
        students=[{"name": "small", "backend": "server", "model": "small", **endpoint}],
    )  # fmt: skip
    experiment = load_experiment(str(path))
    bring_up_to_date(experiment, settings)
    splits = read_dataset(experiment)
    before = cpu_seconds()
    run = runs.plan_run(db, "run", experiment, splits, time.time())
    return run.planned, cpu_seconds() - before


def bytes_of_a_message(db: Database, settings: Settings, broker: Any) -> float:
    """Return the size of a message in the list of Redis; it carries up to eight units."""
    runs.start_run(db, "run", time.time())
    feeder = Feeder(db, runs.load_run(db, "run"), settings)
    feeder.lead()
    feeder.tick()
    feeder.close()
    size = broker.memory_usage(QUEUE, samples=0) / broker.llen(QUEUE)
    runs.stop_run(db, "run", "measured")
    return float(size)


def wait_until_listening(broker: Any, worker: int) -> float:
    """Its processor time so far: what it costs to start is not a unit's."""
    wait_until(lambda: broker.llen(QUEUE) == 0, "the worker listens")
    time.sleep(1)
    return cpu_seconds(worker)


def state_of(broker: Any, ledger: Any) -> dict[str, float]:
    """Counters that only grow; PostgreSQL shows them a second late."""
    time.sleep(1.5)
    info = broker.info()
    commits, written = ledger.execute(
        "SELECT xact_commit, pg_current_wal_lsn() - '0/0' FROM pg_stat_database"
        " WHERE datname = current_database()"
    ).fetchone()
    return {
        "redis_commands": info["total_commands_processed"],
        "redis_us_of_cpu": 1e6 * (info["used_cpu_user"] + info["used_cpu_sys"]),
        "postgres_commits": commits,
        "postgres_wal_bytes": float(written),
        "postgres_ms_of_cpu": 1e3 * sum(cpu_seconds(pid) for pid in backends(ledger)),
    }


def backends(ledger: Any) -> list[int]:
    """Processes of the server that answer clients."""
    return [pid for (pid,) in ledger.execute("SELECT pid FROM pg_stat_activity WHERE datname IS NOT NULL")]


def sizes(ledger: Any) -> dict[str, float]:
    """Return the bytes of each table with its indexes, including what vacuum has not removed."""
    bytes_by_table = {}
    for table in TABLES:
        size, rows = ledger.execute(
            f"SELECT pg_total_relation_size('{table}'), (SELECT count(*) FROM {table})"
        ).fetchone()
        bytes_by_table[table] = size / rows if rows else 0.0
    return bytes_by_table


def whole(ledger: Any) -> float:
    """Bytes of all of them."""
    query = "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s::text[]) AS name"
    return float(ledger.execute(query, [list(TABLES)]).fetchone()[0])


if __name__ == "__main__":
    main()
