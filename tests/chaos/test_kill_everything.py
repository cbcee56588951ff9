"""Ledger, Redis, workers, feeder and launcher are killed together: what had arrived is not paid again.

The ledger is kept busy before each kill, so that the last answers are nowhere but in the journal of their
worker.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select

from storage.database import Database
from storage.schema import GENERATIONS
from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import read_jsonl, write_jsonl
from tests.support.pipeline import Home, bought, paid, wait_until

ROWS = 1200
SHARES = (0.25, 0.5, 0.75)
PROMPT = "Explain in one sentence: {{ question }}"

pytestmark = pytest.mark.timeout(300)


def test_answers_that_had_arrived_are_not_paid_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": number, "question": f"sort table {number}"} for number in range(ROWS)]
    home, out = Home(tmp_path / "home", {"STARMILL_LEASE_SECONDS": "4"}), tmp_path / "out.jsonl"
    with running("--latency-ms", "200") as server, home.ledger() as db:
        command = ("generate", write_jsonl(tmp_path / "rows.jsonl", rows), "--prompt", PROMPT,
                   "--model", "teacher", "--base-url", server.url, "-o", out)  # fmt: skip
        for share in SHARES:
            goal = max(share * ROWS, server.stats()["answers"] + 1)
            with home.started(*command):
                wait_until(lambda goal=goal: server.stats()["answers"] >= goal, f"{share:.0%} is answered")
                only_on_disk = _kill_everything(home, db, server)
            with capsys.disabled():
                print(f"\nkilled at {share:.0%}: {only_on_disk} answers were in journals only")
            assert only_on_disk > 0
        home.starmill(*command)
        assert [row["id"] for row in read_jsonl(out)] == list(range(ROWS))
        assert all(row["answer"] for row in read_jsonl(out))
        assert server.stats()["paid_again"] == 0
        assert bought(db) == set(paid(server))
    assert list((home.path / "journals").iterdir()) == []


def _kill_everything(home: Home, db: Database, server: OpenAIServer) -> int:
    """Let nothing be committed until all calls are answered, then kill. Return how many answers the ledger
    lacks."""
    with db.write():
        stored = _stored(db)
        wait_until(
            lambda: not server.stats()["in_flight"] and len(stored | _journaled(home)) == len(paid(server)),
            "every answer is on disk",
        )
        processes = home.processes()
        assert len(processes) >= 3  # launcher, Redis, worker
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not home.processes(), "all have ended")
    return len(_journaled(home) - stored)


def _stored(db: Database) -> set[str]:
    with db.read() as connection:
        return set(connection.scalars(select(GENERATIONS.c.key).where(GENERATIONS.c.done.is_(True))))


def _journaled(home: Home) -> set[str]:
    lines = [line for path in home.path.glob("journals/*.jsonl") for line in path.read_bytes().splitlines()]
    return {json.loads(line)["key"] for line in lines}
