"""PostgreSQL restarted or stopped, and a full disk: the run waits, says so once, and ends whole."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.test_kill import assert_whole
from tests.openai_server.process import OpenAIServer
from tests.support.pipeline import Ended, Home, home_with_indexes_of
from tests.support.services import Postgres
from tests.support.troubles import RUN_PARAMETERS, RUNS, SLOW_MS, Running, assert_outlives, warnings

pytestmark = pytest.mark.timeout(300)
MAX_WARNINGS = 20
SECONDS = 20.0


@pytest.mark.parametrize("where", RUN_PARAMETERS)
@pytest.mark.parametrize("how", ["restarted", "stopped"])
def test_run_outlives_postgres(
    how: str, where: str, home: Home, server: OpenAIServer, undisturbed: Ended, postgres: Postgres
) -> None:
    def strike(_: Running) -> None:
        if how == "restarted":
            postgres.kill_and_restart()
            return
        with postgres.stopped():
            time.sleep(SECONDS)

    server.configure(latency_ms=SLOW_MS)
    with postgres.new_database() as url:
        used = Home(home.path, home.settings | {"STARMILL_DATABASE_URL": url})
        with RUNS[where](used, undisturbed.experiment) as run:
            lines = assert_outlives(f"PostgreSQL {how}, {where}", strike, run, server)
        assert "the database is away" in "\n".join(lines)
        assert warnings(lines) <= MAX_WARNINGS
        assert_whole(used, undisturbed)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write a file until the disk is full."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(1 << 12))
        except OSError:
            return path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
@pytest.mark.parametrize("where", RUN_PARAMETERS)
def test_run_outlives_a_full_disk(
    where: str, tmp_path: Path, server: OpenAIServer, undisturbed: Ended
) -> None:
    def strike(run: Running) -> None:
        filler = fill(run.home.path)
        time.sleep(SECONDS)
        filler.unlink()

    server.configure(latency_ms=SLOW_MS)
    with small_disk(tmp_path / "home"):
        home = home_with_indexes_of(
            undisturbed.home, tmp_path / "home", STARMILL_LEASE_SECONDS="4", STARMILL_QUEUE_WINDOW="64"
        )
        with RUNS[where](home, undisturbed.experiment) as run:
            lines = assert_outlives(f"full disk, {where}", strike, run, server)
        assert "is full" in "\n".join(lines)
        assert warnings(lines) <= MAX_WARNINGS
        assert_whole(home, undisturbed)
