"""Whatever is killed in the middle of a run, the run ends as if nothing had happened."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import func, select

from models.core.pipeline.plan import queues
from producer.experiments.load import load_experiment
from producer.local.services import free_port
from storage.database import Database
from storage.ledger import runs
from storage.ledger.counts import IN_FLIGHT
from storage.schema import FINAL, UNITS
from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import write_experiment
from tests.support.counted import assert_counts_hold
from tests.support.gateway import running_gateway
from tests.support.pipeline import (
    MODEL_WORKER,
    PATIENCE,
    Ended,
    Home,
    bought,
    final_share,
    paid,
    units,
    wait_until,
)

# Teacher and student, four calls at once each.
MOST_IN_FLIGHT = 8
HEALED_WITHIN = 30.0
OUTAGE = 5.0

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("service", [MODEL_WORKER, "redis.conf"])
def test_a_killed_service_is_replaced(
    service: str, home: Home, server: OpenAIServer, undisturbed: Ended
) -> None:
    with home.started("run", undisturbed.experiment, "--local") as process, home.ledger() as db:
        wait_for_the_middle(db)
        before = bought(db)
        assert before
        os.kill(home.service(service), signal.SIGKILL)
        end(home, process)
    assert_whole(home, undisturbed)
    assert_bought_once(home, server, before)


def test_a_killed_run_is_resumed(home: Home, server: OpenAIServer, undisturbed: Ended) -> None:
    with home.started("run", undisturbed.experiment, "--local") as process, home.ledger() as db:
        wait_for_the_middle(db)
        before = bought(db)
        assert before
        process.kill()
        process.wait()
        [run] = runs.list_runs(db)
        with home.started("run", "--resume", run.id, "--local") as resumed:
            end(home, resumed)
    assert_whole(home, undisturbed)
    assert_bought_once(home, server, before)


def test_worker_killed_behind_a_gateway_repays_nothing(
    home: Home, server: OpenAIServer, undisturbed: Ended
) -> None:
    with home.started("run", undisturbed.experiment, "--local", "--gateway") as process, home.ledger() as db:
        for share, service in (
            (0.15, MODEL_WORKER),
            (0.3, "redis.conf"),
            (0.4, MODEL_WORKER),
            (0.6, MODEL_WORKER),
        ):
            wait_until(lambda share=share: final_share(units(db)) >= share, f"{share:.0%} are final")
            replaced = home.service(service)
            wait_until(lambda: server.stats()["in_flight"] > 1, "calls are in flight")
            os.kill(replaced, signal.SIGKILL)
            before = (service, replaced)
            wait_until(lambda before=before: home.services(before[0]) - {before[1]}, "it is replaced")
        end(home, process)
    assert_whole(home, undisturbed)
    assert_bought_once(home, server, set(), again=0)


def test_killed_gateway_repays_only_calls_in_flight(
    home: Home, server: OpenAIServer, undisturbed: Ended
) -> None:
    with home.started("run", undisturbed.experiment, "--local", "--gateway") as process, home.ledger() as db:
        wait_for_the_middle(db)
        before = bought(db)
        assert before
        os.kill(home.service("worker.gateway"), signal.SIGKILL)
        end(home, process)
    assert_whole(home, undisturbed)
    assert_bought_once(home, server, before)


def test_present_gateway_is_used_and_ends_empty(home: Home, server: OpenAIServer, undisturbed: Ended) -> None:
    server.configure(latency_ms=100, malformed=0.1)  # what is rejected is committed as well
    with running_gateway() as gateway:
        home = Home(home.path, home.settings | {"STARMILL_GATEWAY_URL": gateway.setting})
        with home.started("run", undisturbed.experiment, "--local") as process:
            wait_until(lambda: gateway.health()["running"], "calls pass through the gateway")
            end(home, process)
        assert gateway.health() == {"running": 0, "held": 0, "held_bytes": 0}
    assert_every_unit_is_final(home)
    assert sum(home.json("status")["rejections"].values()) > 0


def test_a_flushed_redis_is_filled_again(home: Home, server: OpenAIServer, undisturbed: Ended) -> None:
    with home.started("run", undisturbed.experiment, "--local") as process, home.ledger() as db:
        wait_for_the_middle(db)
        names = queues(load_experiment(str(undisturbed.experiment)))
        lost = wait_until(lambda: flush(home.redis_url(), names), "messages wait in Redis")
        wait_until(lambda: final_among(db, lost) == len(lost), "lost units are final", HEALED_WITHIN)
        end(home, process)
    assert_whole(home, undisturbed)
    assert_bought_once(home, server, set(), again=0)


def test_a_stopped_run_finishes_its_calls_and_says_how_to_go_on(
    home: Home, server: OpenAIServer, undisturbed: Ended
) -> None:
    arguments: list[object] = ["run", undisturbed.experiment, "--local"]
    with home.ledger() as db:
        for number, stop in enumerate((signal.SIGINT, signal.SIGTERM), start=1):
            with home.started(*arguments) as process:
                wait_for_the_middle(db, 0.1 + 0.2 * number)
                process.send_signal(stop)
                stderr = end(home, process, expect=3)
            assert "Traceback" not in stderr
            assert home.json("status")["state"] == "interrupted"
            assert bought(db) == set(paid(server))
            [command] = re.findall(r"continue with: starmill (.*)", stderr)
            arguments = list(shlex.split(command))
        assert "--local" in arguments
        with home.started(*arguments) as process:
            end(home, process)
    assert_whole(home, undisturbed)
    assert_bought_once(home, server, set(), again=0)


def test_an_outage_of_the_model_server_loses_nothing(home: Home, data: Path, undisturbed: Ended) -> None:
    port = free_port()
    outage = write_experiment(data, f"http://127.0.0.1:{port}/v1", name="outage")
    options = ("--port", str(port), "--references", str(data / "references.jsonl"), "--latency-ms", "150")
    with home.started("run", outage, "--local") as process, home.ledger() as db:
        with running(*options):
            wait_for_the_middle(db)
        time.sleep(OUTAGE)  # an outage is nothing but time
        with running(*options):
            end(home, process)
    assert_whole(home, undisturbed, but="provenance")


def test_bad_answers_leave_no_bad_rows(home: Home, server: OpenAIServer, undisturbed: Ended) -> None:
    server.configure(malformed=0.1, p429=0.05, p500=0.05, retry_after="0.2")
    with home.started("run", undisturbed.experiment, "--local") as process:
        end(home, process)
    status = home.json("status")
    assert status["units"]["failed"] == 0
    # Each kind of malformed answer is counted by its name; 429 and 500 are no answers, and not counted.
    assert set(status["rejections"]) == {"null", "empty", "refusal", "html", "malformed"}
    assert sum(status["rejections"].values()) > 0
    assert {"200", "429", "500"} <= set(server.stats()["statuses"])
    written = home.export("small", "synthetic")
    assert [row["rationale"] for row in written] == [
        row["rationale"] for row in undisturbed.home.export("small", "synthetic")
    ]
    answers = home.export("small", "answers")
    assert len(answers) == status["stages"]["answer"]["planned"]
    # Nothing was executed, and no rule of the experiment judged the answers: these are null by right.
    absent = ("execution", "verdict", "correct")
    filled = [{key: row[key] for key in row if not key.startswith(absent)} for row in written + answers]
    assert not [row for row in filled if None in row.values()]
    assert_every_unit_is_final(home)


@pytest.mark.parametrize("pool", [("-P", "prefork"), ()], ids=["prefork", "default"])
def test_a_worker_that_could_lose_units_does_not_start(pool: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "celery", "-A", "worker", "worker", "-Q", "retrieve", *pool]
    done = subprocess.run(
        command, env=Home(tmp_path / "home").environment, cwd=tmp_path, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("starmill worker: a worker runs with -P threads")


def wait_for_the_middle(db: Database, share: float = 0.35) -> None:
    """Wait until this share of the units is final and calls are in flight."""

    def middle() -> bool:
        states = units(db)
        return final_share(states) >= share and states[IN_FLIGHT] > 0

    wait_until(middle, f"{share:.0%} of the units are final")
    assert final_share(units(db)) < 0.7


def end(home: Home, process: subprocess.Popen[str], expect: int = 0) -> str:
    """Wait for the end of a run, which leaves no process behind; its messages."""
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == expect, stderr
    assert not home.processes()
    return stderr


def flush(url: str, names: Sequence[str]) -> set[int]:
    """Make Redis forget everything; the units whose messages were waiting in it."""
    with redis.Redis.from_url(url) as client, client.pipeline(transaction=True) as commands:
        for name in names:
            commands.lrange(name, 0, -1)
        commands.flushall()
        *waiting, _ = commands.execute()
    messages = [json.loads(message) for queue in waiting for message in queue]
    bodies = [json.loads(base64.b64decode(message["body"])) for message in messages]
    return {unit_id for (_, unit_ids), *_ in bodies for unit_id in unit_ids}


def final_among(db: Database, unit_ids: set[int]) -> int:
    query = select(func.count()).where(UNITS.c.id.in_(unit_ids), UNITS.c.state.in_(FINAL))
    with db.read() as connection:
        return int(connection.execute(query).scalar_one())


def assert_whole(home: Home, undisturbed: Ended, but: str | None = None) -> None:
    """Every unit has ended, and the data are those of the undisturbed run."""
    assert_every_unit_is_final(home)
    run = home.json("status")["run"]
    for what in ("synthetic", "answers"):
        expected = undisturbed.home.export(undisturbed.run, what)
        assert expected
        assert without(but, home.export(run, what)) == without(but, expected)


def without(name: str | None, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """And without the scores of passages: their last digit depends on what was encoded together."""
    kept = [{key: value for key, value in row.items() if key != name} for row in rows]
    for row in kept:
        if isinstance(row.get("passages"), list):
            row["passages"] = [passage["id"] for passage in row["passages"]]
    return kept


def assert_every_unit_is_final(home: Home) -> None:
    status = home.json("status")
    assert status["state"] == "finished"
    assert status["units"]["planned"] == status["planned"]
    assert sum(stage["planned"] for stage in status["stages"].values()) == status["planned"]
    for states in (status["units"], *status["stages"].values()):
        assert states["done"] + states["skipped"] + states["failed"] == states["planned"]
    with home.ledger() as db:
        assert_counts_hold(db)


def assert_bought_once(
    home: Home, server: OpenAIServer, before: set[str], again: int = MOST_IN_FLIGHT
) -> None:
    """Calls committed `before` the kill were paid once; of the others at most `again` a second time."""
    answers = paid(server)
    assert {call: answers[call] for call in before} == dict.fromkeys(before, 1)
    assert answers.total() - len(answers) <= again
    with home.ledger() as db:
        assert bought(db) == set(answers)
