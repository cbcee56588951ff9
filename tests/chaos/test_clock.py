"""A machine whose clock is set by five minutes while it works: nothing is paid twice, nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.openai_server.process import REPOSITORY, OpenAIServer
from tests.support.pipeline import Home, paid, units, wait_until
from tests.support.services import Postgres
from tests.support.workers import celery_worker

pytestmark = pytest.mark.timeout(300)
ROWS = 24
# Longer than a lease of four seconds and the ten after which the feeder sends a unit again.
CALL_MS = 16_000
SHIM = """
import time

real = time.time

def shifted():
    try:
        with open({path!r}) as file:
            return real() + float(file.read())
    except (OSError, ValueError):
        return real()

time.time = shifted
"""


@pytest.mark.parametrize("seconds", [-300, 300])
def test_clock_that_is_set_costs_nothing(
    seconds: int, tmp_path: Path, openai_server: OpenAIServer, postgres: Postgres, redis_url: str
) -> None:
    shift, experiment = tmp_path / "shift", tmp_path / "rows.yaml"
    (tmp_path / "sitecustomize.py").write_text(SHIM.format(path=str(shift)))
    model = {
        "backend": "openai",
        "model": "large",
        "base_url": openai_server.url,
        "max_concurrency": 4 * ROWS,
    }
    (tmp_path / "rows.csv").write_text("\n".join(["word", *(f"word{number}" for number in range(ROWS))]))
    steps = {"text": {"prompt": "Explain {{ word }}"}}
    experiment.write_text(
        yaml.safe_dump({"name": "rows", "data": "rows.csv", "models": {"teacher": model}, "steps": steps})
    )
    openai_server.configure(latency_ms=CALL_MS)
    openai_server.forget()
    path = f"PYTHONPATH={tmp_path}:{REPOSITORY}"
    with postgres.new_database() as url:
        settings = {
            "STARMILL_DATABASE_URL": url, "STARMILL_REDIS_URL": redis_url, "STARMILL_LEASE_SECONDS": "4"
        }  # fmt: skip
        home = Home(tmp_path / "home", settings)
        home.path.mkdir()
        home.starmill("runs")
        with (
            celery_worker(home, ["model.large"], 4, "right"),
            celery_worker(home, ["model.large"], 4, "wrong", ["env", path]),
            home.started("run", experiment) as run,
            home.ledger() as db,
        ):
            wait_until(lambda: openai_server.stats()["in_flight"] >= ROWS - 1, "all calls are made")
            shift.write_text(str(seconds))
            assert run.wait(200) == 0
            states = units(db)
    calls = paid(openai_server)
    print(f"SEEN clock {seconds:+} s: {len(calls)} calls, paid twice {calls.total() - len(calls)}, {states}")
    assert states == {"done": ROWS}
    assert calls.total() == len(calls) == ROWS
