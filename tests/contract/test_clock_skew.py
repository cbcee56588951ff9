"""Machines whose clocks are wrong share a PostgreSQL ledger, and none takes what another holds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.database import Database
from storage.ledger import leases
from storage.schema import TRAIN
from tests.openai_server.process import REPOSITORY
from tests.support.clock import Clock
from tests.support.pipeline import Home
from tests.support.small_run import claim_units, ids, plan

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
SHIFTED = "import sys, time; real = time.time; time.time = lambda: real() + float(sys.argv[1])\n"
# A worker whose clock went wrong after it started: it claims a unit and holds it.
HOLD = (
    SHIFTED
    + """
from storage.settings import load_settings
from worker.runtime import Runtime

runtime = Runtime(load_settings())
with runtime.ledger.in_hand([int(sys.argv[2])]) as free:
    print(len(runtime.wait_for(runtime.ledger.claim(free))), flush=True)
    sys.stdin.read()
runtime.close()
"""
)
START = SHIFTED + "from worker.celery_worker import main; main(['-P', 'solo', '-Q', 'judge'])"


@pytest.fixture
def home(database: Database, redis_url: str, tmp_path: Path) -> Home:
    url = database.url.render_as_string(hide_password=False)
    return Home(tmp_path, {"STARMILL_DATABASE_URL": url, "STARMILL_REDIS_URL": redis_url})


@contextmanager
def shifted(home: Home, program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], env=home.environment, cwd=REPOSITORY,
        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("seconds", [-300, 300])
def test_unit_of_a_machine_whose_clock_is_wrong_is_its_own(
    database: Database, home: Home, seconds: int
) -> None:
    plan(database, Clock(time.time()), train=2)
    [unit, *_] = ids(database, stage="augment", split=TRAIN)
    with shifted(home, HOLD, seconds, unit) as process:
        assert process.stdout
        assert process.stdout.readline() == "1\n"
        assert claim_units(database, "other", [unit], time.time()) == []
        assert claim_units(database, "other", [unit], time.time() + 200) != []  # the lease does end


@pytest.mark.parametrize("seconds", [-300, 300])
def test_machine_whose_clock_is_wrong_takes_no_unit_of_another(
    database: Database, home: Home, seconds: int
) -> None:
    plan(database, Clock(time.time()), train=2)
    [unit, *_] = ids(database, stage="augment", split=TRAIN)
    leases.extend_lease(database, "first", time.time(), 60.0)
    assert len(claim_units(database, "first", [unit], time.time())) == 1
    with shifted(home, HOLD, seconds, unit) as process:
        assert process.stdout
        assert process.stdout.readline() == "0\n"


@pytest.mark.parametrize(("seconds", "side"), [(-300, "behind"), (300, "ahead of")])
def test_worker_refuses_to_start_on_a_machine_whose_clock_is_wrong(
    home: Home, seconds: int, side: str
) -> None:
    with shifted(home, START, seconds) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Traceback" not in errors
    line = errors.strip().splitlines()[-1]
    assert f" 300.0 s {side} that of the ledger, postgresql" in line
    assert line.endswith(": no worker starts with more than 2 s; set both by NTP")
