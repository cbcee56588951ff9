"""Whole runs whose teacher is asked by batches: the same rows, each call paid once, whatever happens."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import select

from storage.database import Database
from storage.ledger import batches
from storage.ledger import runs as ledger_runs
from storage.ledger.batches import Batch
from storage.ledger.counts import IN_FLIGHT
from storage.schema import BATCHES, SETTLED, SUBMITTED
from tests.chaos.test_kill import assert_bought_once, assert_every_unit_is_final, assert_whole, end
from tests.openai_server.process import OpenAIServer
from tests.support.chores import write_experiment
from tests.support.pipeline import Ended, Home, home_with_indexes_of, units, wait_until

PRICE = {"input": 0.25, "output": 0.75}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def experiment(data: Path, model_server: OpenAIServer) -> Path:
    """That of the undisturbed run, but for the delivery, and for requests that are augmented together."""
    return write_by_batches(data, model_server, "batches")


def write_by_batches(data: Path, server: OpenAIServer, name: str, **sections: Any) -> Path:
    teacher = {"backend": "openai", "model": "large", "base_url": server.url, "max_concurrency": 4}
    teacher |= {"delivery": "batch", "price": PRICE}
    return write_experiment(data, server.url, name=name, teacher=teacher, **sections)


@pytest.fixture
def home(undisturbed: Ended, tmp_path: Path) -> Home:
    return home_with_indexes_of(undisturbed.home, tmp_path / "home", STARMILL_LEASE_SECONDS="4")


def test_batches_give_the_same_rows_as_direct_calls(
    home: Home, server: OpenAIServer, experiment: Path, undisturbed: Ended
) -> None:
    server.configure(batch_latency_ms=2000)
    earlier = len(made(server))
    with home.started("run", experiment, "--local") as process, home.ledger() as db:
        wait_until(lambda: submitted(db), "a batch is submitted")
        # Units at the provider are in flight, and nobody claims them again and again.
        assert units(db)[IN_FLIGHT] >= 32
        end(home, process)
    assert_whole(home, undisturbed, but="provenance")
    assert_bought_once(home, server, set(), again=0)
    status = home.json("status")
    assert status["calls"] == server.stats()["answers"]
    assert status["rejections"] == undisturbed.home.json("status")["rejections"]
    # One for each stage that asks the teacher: augment, rationale, rationalize.
    assert len(made(server)) - earlier == 3


def test_a_stopped_and_a_killed_run_find_their_batches_again(
    home: Home, server: OpenAIServer, experiment: Path, undisturbed: Ended
) -> None:
    server.configure(batch_latency_ms=6000)
    with home.ledger() as db:
        with home.started("run", experiment, "--local") as process:
            wait_until(lambda: submitted(db), "a batch is submitted")
            process.send_signal(signal.SIGINT)
            stderr = end(home, process, expect=3)
        assert "batches that go on at the provider: 1" in stderr
        [run] = ledger_runs.list_runs(db)
        assert units(db)[IN_FLIGHT] >= 32
        with home.started("run", "--resume", run.id, "--local") as process:
            wait_until(lambda: settled(db) and submitted(db), "the second batch is submitted")
            process.kill()
            process.wait()
        assert len(submitted(db)) == 1
        with home.started("run", "--resume", run.id, "--local") as process:
            end(home, process)
    assert_whole(home, undisturbed, but="provenance")
    assert_bought_once(home, server, set(), again=4)


def test_bad_lines_leave_no_bad_rows(
    home: Home, server: OpenAIServer, data: Path, undisturbed: Ended
) -> None:
    """Requests are augmented eight at a time; what a bad reply left out is asked for alone."""
    server.configure(batch_expire=0.2, batch_fail=0.1, malformed=0.15)
    together = write_by_batches(data, server, "together", augment={"batch_size": 8})
    with home.started("run", together, "--local") as process:
        end(home, process)
    assert_every_unit_is_final(home)
    status = home.json("status")
    assert status["units"]["failed"] == 0
    assert sum(status["rejections"].values()) > 0
    written = home.export("together", "synthetic")
    assert len(written) == 32
    assert not [row for row in written if None in row.values()]
    # The same words are asked again after a bad answer, so that only their number can be compared.
    assert status["calls"] == server.stats()["answers"]


def submitted(db: Database) -> list[Batch]:
    runs = ledger_runs.list_runs(db)
    return [batch for batch in batches.unsettled(db, runs[0].id) if batch.state == SUBMITTED] if runs else []


def settled(db: Database) -> bool:
    with db.read() as connection:
        return bool(connection.scalars(select(BATCHES.c.id).where(BATCHES.c.state == SETTLED)).first())


def made(server: OpenAIServer) -> list[str]:
    """Ids of all batches that the server knows."""
    with openai.OpenAI(api_key="unused", base_url=server.url) as client:
        return [batch.id for batch in client.batches.list(limit=100)]
