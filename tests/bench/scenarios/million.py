"""A million units: planned and fed by a producer, with no worker in sight."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import redis

from producer.local.services import redis_service
from producer.local.supervisor import Supervisor
from tests.bench.scenarios.base import Bench, Outcome
from tests.openai_server.process import REPOSITORY

FEEDING_SECONDS = 10
LONGEST = 1800


def million(bench: Bench) -> Outcome:
    """A dataset of 249,999 rows is read, planned, and fed for 10 s. There is no plain counterpart."""
    local, logs = bench.folder / "local", bench.folder / "logs"
    for made in (local, logs):
        made.mkdir(parents=True)
    service, url = redis_service(local, logs)
    supervisor = Supervisor(local)
    rows = bench.calls or (999 if bench.quick else 249_999)
    command = [sys.executable, "-m", "tests.bench.producing", str(bench.folder),
               str(rows), str(1 if bench.quick else FEEDING_SECONDS)]  # fmt: skip
    environment = {**os.environ, "STARMILL_HOME": str(bench.folder / "home"), "STARMILL_REDIS_URL": url}
    try:
        supervisor.start(service)
        with redis.Redis.from_url(url) as client:
            empty = client.info("memory")["used_memory"]
            done = subprocess.run(
                command, env=environment, cwd=REPOSITORY, capture_output=True, text=True,
                timeout=LONGEST, check=False,
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"the producer ended with {done.returncode}: {done.stderr[-500:].strip()}")
            memory = client.info("memory")
    finally:
        supervisor.stop()
    values = json.loads(done.stdout)
    values["redis_mb"] = memory["used_memory_peak"] / 1e6
    values["redis_queues_mb"] = (memory["used_memory"] - empty) / 1e6
    return {"starmill": values}
