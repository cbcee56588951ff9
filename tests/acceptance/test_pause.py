"""A run is paused from another terminal, and goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage.database import Database
from storage.ledger import runs, scheduling
from storage.ledger.counts import IN_FLIGHT
from tests.openai_server.process import OpenAIServer
from tests.support.chores import write_experiment
from tests.support.clock import Clock
from tests.support.command_line import command_line, starmill
from tests.support.pipeline import (
    PATIENCE,
    Ended,
    Home,
    bought,
    final_share,
    home_with_indexes_of,
    paid,
    units,
    wait_until,
)
from tests.support.small_run import plan
from tests.support.webhook_receiver import WebhookReceiver, receiving

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def ready(finished: Ended, tmp_path: Path) -> Home:
    return home_with_indexes_of(finished.home, tmp_path / "home")


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    with command_line(tmp_path, monkeypatch) as opened:
        yield opened


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with receiving() as opened:
        yield opened


def test_a_paused_run_ends_and_is_resumed(
    ready: Home, data: Path, server: OpenAIServer, receiver: WebhookReceiver
) -> None:
    """A webhook is told of both before the command ends."""
    ready = replace(ready, settings={"STARMILL_WEBHOOK_URL": receiver.url})
    server.configure(latency_ms=2000)
    experiment = write_experiment(data, server.url, name="steered")
    with ready.started("run", experiment, "--local") as process, ready.ledger() as db:
        wait_until(lambda: final_share(units(db)) > 0.2 and units(db)[IN_FLIGHT], "calls are in flight")
        run = runs.list_runs(db)[0].id
        completed = ready.starmill("pause", run)
        assert completed.stdout == ""
        assert f"continue with: starmill resume {run}" in completed.stderr
        _, ended = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2
        assert f"run {run} is paused: paused by hand; continue with: starmill run --resume {run}" in ended
        assert not ready.processes()
        assert [document["event"] for document in receiver.documents()] == ["paused"]
        # What was in flight is committed, and no more was asked.
        states = units(db)
        assert 0.2 < final_share(states) < 1
        assert bought(db) == set(paid(server))

        status = ready.json("status")
        assert (status["state"], status["message"]) == ("paused", "paused by hand")
        twice = ready.starmill("pause", run, expect=2).stderr
        assert f"run {run} is paused already (paused by hand)" in twice

        server.configure()
        tables = ready.starmill("resume", run[:-1], "--local").stdout
        assert "Ablation" in tables
        assert ready.json("status")["state"] == "finished"
        assert [document["event"] for document in receiver.documents()] == ["paused", "finished"]
        assert server.stats()["paid_again"] == 0
        assert ready.starmill("resume", run).stdout.endswith(tables[tables.index("Synthetic set") :])


def test_runs_that_do_not_run_cannot_be_paused(
    db: Database, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(db, clock, "planned-1", started=False)
    plan(db, clock, "interrupted-1", seed=1)
    runs.stop_run(db, "interrupted-1", "stopped by hand")
    plan(db, clock, "finished-1", train=0, test=0, seed=2)
    assert scheduling.finish_run(db, "finished-1", clock())
    for command, run, says in (
        ("pause", "nobody", "no run 'nobody' in"),
        ("resume", "nobody", "no run 'nobody' in"),
        ("pause", "planned", "run planned-1 has not started: start it with `starmill resume planned-1`"),
        ("pause", "interrupted", "run interrupted-1 is interrupted already (stopped by hand): continue it"),
        ("pause", "finished", "run finished-1 is finished: there is nothing to pause"),
    ):
        before = runs.list_runs(db)
        assert starmill(command, run) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        [line] = shown.err.splitlines()
        assert line.startswith(f"starmill: {says}")
        assert runs.list_runs(db) == before


def test_a_pause_counts_once(db: Database, clock: Clock) -> None:
    plan(db, clock, "small-1")
    assert runs.stop_run(db, "small-1", "first", paused=True)
    assert not runs.stop_run(db, "small-1", "second", paused=True)
    assert runs.run_state(db, "small-1") == ("paused", "first")
