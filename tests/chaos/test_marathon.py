"""Two thousand rows, up to ten random kills: nothing is lost, nothing that was committed is paid again.

What was asked but not committed when a process died is the most that can be paid a second time; with a
gateway beside the workers it is nothing. The report of each run names every kill. `make test-marathon`.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from producer.local.supervisor import MAX_DEATHS
from storage.database import Database
from storage.ledger import counts, runs
from storage.schema import GENERATIONS
from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import write_data, write_experiment
from tests.support.pipeline import (
    MODEL_WORKER,
    Home,
    as_counted,
    bought,
    final_share,
    paid,
    units,
    wait_until,
)
from tests.support.services import running_postgres

ROWS, KILLS, CALLS_AT_ONCE, SEED = 2000, 10, 32, 20261123
PRICES = {"input": 0.15, "cached_input": 0.15, "output": 0.6}

pytestmark = [pytest.mark.marathon, pytest.mark.timeout(1500)]
Victims = dict[str, Callable[[Home], None]]


@dataclass(frozen=True)
class Kill:
    """One kill: the process, the share of final units, and the calls committed and paid at that moment."""

    what: str
    share: float
    committed: frozenset[str]
    paid: Counter[str]

    @property
    def in_flight(self) -> set[str]:
        """Answers that nobody had committed."""
        return self.paid.keys() - self.committed


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "gateway"])
def test_ten_kills_in_two_thousand_rows(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", train=ROWS, test=4)
    victims: Victims = {"celery": _kill_service(MODEL_WORKER), "redis": _kill_service("redis.conf")}
    settings = {"STARMILL_LEASE_SECONDS": "4"}
    with ExitStack() as stack:
        options = ("--references", str(data / "references.jsonl"), "--latency-ms", "100")
        server = stack.enter_context(running(*options))
        if kind == "postgresql":
            postgres = stack.enter_context(running_postgres())
            settings["STARMILL_DATABASE_URL"] = stack.enter_context(postgres.new_database())
            victims["database"] = lambda _: postgres.kill_and_restart()
        if kind != "gateway":
            victims["run"] = lambda _: None
        home = Home(tmp_path / "home", settings)
        arguments = ["run", str(_experiment(data, server)), "--local"]
        kills = _disturb(home, server, arguments + ["--gateway"] * (kind == "gateway"), victims)
        with home.ledger() as db, capsys.disabled():
            _report(kind, kills, db, server)
            _check(kills, db, server)
            if kind == "gateway":
                assert server.stats()["paid_again"] == 0


def _experiment(data: Path, server: OpenAIServer) -> Path:
    endpoint = {"base_url": server.url, "max_concurrency": CALLS_AT_ONCE, "price": PRICES}
    teacher = {"backend": "openai", "model": "large", **endpoint}
    students = [{"name": "small", "backend": "server", "model": "small", **endpoint}]
    return write_experiment(data, server.url, teacher=teacher, students=students)


def _kill_service(word: str) -> Callable[[Home], None]:
    return lambda home: os.kill(home.service(word), signal.SIGKILL)


def _wait_until_share(share: float, db: Database, process: subprocess.Popen[str]) -> None:
    wait_until(
        lambda: final_share(units(db)) >= share or process.poll() is not None, f"{share:.0%} final", 600
    )
    assert process.poll() is None, process.communicate()[1]


def _disturb(home: Home, server: OpenAIServer, arguments: list[str], victims: Victims) -> list[Kill]:
    """Run to the end in spite of the kills, each of which comes at a random share of the units."""
    chance = random.Random(SEED)
    # A run gives up a service that dies MAX_DEATHS times in a minute, and a fast machine ends in less.
    order = (list(victims) * (MAX_DEATHS - 1))[:KILLS]
    shares = sorted(chance.uniform(0.03, 0.95) for _ in order)
    chance.shuffle(order)
    kills: list[Kill] = []
    with ExitStack() as stack, home.ledger() as db:
        process = stack.enter_context(home.started(*arguments))
        for what, share in zip(order, shares, strict=True):
            _wait_until_share(share, db, process)
            # First what is committed: what is paid a moment later can only be more.
            committed = frozenset(bought(db))
            kills.append(Kill(what, share, committed, paid(server)))
            victims[what](home)
            if what == "run":
                process.kill()
                process.wait()
                [run] = runs.list_runs(db)
                process = stack.enter_context(home.started("run", "--resume", run.id, "--local"))
        _, stderr = process.communicate(timeout=900)
        assert process.returncode == 0, stderr
    return kills


def _check(kills: list[Kill], db: Database, server: OpenAIServer) -> None:
    [run] = runs.list_runs(db)
    assert run.state == "finished"
    assert final_share(units(db)) == 1.0
    assert units(db)["failed"] == 0
    answers = paid(server)
    assert bought(db) == set(answers)
    for kill in kills:
        again = {call for call in kill.committed if answers[call] > kill.paid[call]}
        assert not again, f"{what_of(kill)}: committed answers were bought again"
    # To the cent: what the ledger has paid is what the server has sold, less what it sold twice.
    sold_twice = Counter({call: count - 1 for call, count in answers.items() if count > 1})
    stats = server.stats()
    tokens = {"prompt_tokens": 0, "completion_tokens": 0}
    with db.read() as connection:
        for row in connection.execute(select(GENERATIONS)):
            for name in tokens:
                tokens[name] += getattr(row, name) * (1 + sold_twice[as_counted(row.request)])
    assert tokens == {name: stats["tokens_paid"][name.removesuffix("_tokens")] for name in tokens}
    spent = counts.spending(db, run.id)
    dollars = (spent.usage.prompt * PRICES["input"] + spent.usage.completion * PRICES["output"]) / 1e6
    assert spent.dollars == pytest.approx(dollars, abs=1e-9 * len(answers))


def _report(kind: str, kills: list[Kill], db: Database, server: OpenAIServer) -> None:
    """Each call that was paid twice is named with the first kill that found it in flight."""
    answers = paid(server)
    again = {call for call, count in answers.items() if count > 1}
    print(
        f"\n{kind}: {len(bought(db)):,} answers committed, {answers.total():,} paid, {len(again)} paid twice"
    )
    for kill in kills:
        named = sorted(again & kill.in_flight)
        again -= kill.in_flight
        print(
            f"  {what_of(kill)}: {len(kill.committed):,} committed, {len(kill.in_flight)} answers in flight, "
            f"paid again: {' '.join(named) or 'none'}"
        )


def what_of(kill: Kill) -> str:
    return f"kill -9 of {kill.what} at {kill.share:.0%}"
