"""Batches between a real ledger and a real server: killed at any step, expired, refused, too large."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from sqlalchemy import select

from models.adapters.backends.batch_api import BatchClient
from models.core.errors import AccessError, Unavailable
from producer.feeding import batch_delivery
from producer.feeding.batch_delivery import BatchDelivery
from storage.database import Database
from storage.ledger import batch_enqueue, batches, counts, runs
from storage.ledger.claims import ClaimedUnit
from storage.ledger.purchases import CallClaim
from storage.schema import BATCHES, GENERATIONS, PAUSED, REFUSED, RUNNING, SETTLED, TRAIN
from tests.openai_server.process import REPOSITORY, OpenAIServer
from tests.support.batch_run import AT_ONCE, CALLS, RUN, STEPS, deliver, file_calls
from tests.support.clock import Clock
from tests.support.small_run import Hand, claim_units, request, units

PRICE = {"input": 2.0, "output": 8.0}
KEY = "sk-a-key-that-nobody-may-see"


@dataclass(frozen=True)
class World:
    """A run with filed calls, and the server that its teacher is."""

    db: Database
    server: OpenAIServer
    client: BatchClient
    clock: Clock

    def deliver(self, most: int = 1000) -> int:
        return deliver(self.db, self.client, self.clock, most)

    def rows(self) -> list[Any]:
        with self.db.read() as connection:
            return list(connection.execute(select(BATCHES).order_by(BATCHES.c.created_at)))

    def submitted(self) -> int:
        """Batches of the run that the server knows, twice the one that went up twice."""
        ours = {row.id for row in self.rows()}
        with openai.OpenAI(api_key="unused", base_url=self.server.url) as client:
            known = [batch.metadata for batch in client.batches.list(limit=100)]
        return sum(1 for metadata in known if (metadata or {}).get("starmill_batch") in ours)

    def cancel(self) -> None:
        """Cancel submitted batches, which would otherwise stay in the server."""
        with openai.OpenAI(api_key="unused", base_url=self.server.url) as client:
            for batch in batches.unsettled(self.db, RUN):
                client.batches.cancel(batch.remote or "")

    def assert_each_call_is_paid_and_booked_once(self) -> None:
        stats = self.server.stats()
        assert (stats["answers"], stats["paid_again"]) == (CALLS, 0)
        spent = counts.spending(self.db, RUN)
        assert spent.calls == CALLS
        assert spent.cost_nano_usd == spent.usage.prompt * 2_000 + spent.usage.completion * 8_000
        assert [unit for unit in units(self.db, RUN) if unit.lease_owner] == []


@pytest.fixture
def world(database: Database, clock: Clock, openai_server: OpenAIServer) -> Iterator[World]:
    # The clocks of ledger and server agree, roughly; and nobody waits for more calls to be filed.
    clock.now = time.time() - 60
    run = file_calls(database, clock, openai_server.url, price=PRICE, api_key_env="OPENAI_API_KEY")
    client = BatchClient(run.experiment.teacher)
    yield World(database, openai_server, client, clock)
    client.close()


def test_enqueued_calls_are_answered(world: World) -> None:
    world.deliver()
    world.assert_each_call_is_paid_and_booked_once()
    [batch] = world.rows()
    assert (batch.state, batch.requests, batch.answered, batch.refused) == (SETTLED, CALLS, CALLS, 0)
    claimed_units = Hand(world.db, runs.load_run(world.db, RUN), world.clock).take(TRAIN, "augment")
    assert {claimed.generation for claimed in claimed_units} == set(generations(world))


@pytest.mark.parametrize("step", STEPS)
def test_a_delivery_that_is_killed_goes_on_where_it_was(step: str, world: World) -> None:
    """Another process continues, and nothing is uploaded twice."""
    url = world.db.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", "tests.support.batch_run", url, step]
    killed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(batches.unsettled(world.db, RUN)) == 1
    booked = counts.spending(world.db, RUN).calls
    assert (0 < booked < CALLS) == (step == "settling")
    world.deliver()
    world.assert_each_call_is_paid_and_booked_once()
    assert world.submitted() == len(world.rows()) == 1


def test_an_expired_batch_keeps_what_it_brought(world: World) -> None:
    world.server.configure(batch_expire=0.5)
    world.deliver()
    world.assert_each_call_is_paid_and_booked_once()
    first, *later = world.rows()
    assert (first.state, first.message) == (SETTLED, "expired")
    assert 0 < first.answered < CALLS
    assert later[0].requests == CALLS - first.answered


def test_errors_of_the_server_are_asked_again(world: World) -> None:
    world.server.configure(batch_fail=0.3, p429=0.2)
    world.deliver()
    world.assert_each_call_is_paid_and_booked_once()
    assert len(world.rows()) > 1


def test_a_refused_call_frees_its_unit_and_no_other(world: World) -> None:
    long = request("very " * 200 + "long")
    [claimed] = Hand(world.db, runs.load_run(world.db, RUN), world.clock).take("test", "retrieve")
    batch_enqueue.enqueue_for_batch(world.db, "worker", [claimed], CallClaim(claimed, long), world.clock())
    world.server.configure(max_context=100)
    world.deliver()
    world.assert_each_call_is_paid_and_booked_once()
    refusal = batch_enqueue.enqueue_for_batch(
        world.db, "worker", [again(world, claimed.unit_id)], CallClaim(claimed, long), world.clock()
    )
    assert isinstance(refusal, batch_enqueue.BatchRefusal)
    assert refusal.reason == "context_overflow"
    assert world.rows()[0].refused == 1


def test_a_batch_that_does_not_fit_into_the_queue_is_halved(world: World) -> None:
    world.server.configure(batch_tokens=200)
    world.deliver()
    world.assert_each_call_is_paid_and_booked_once()
    sizes = [batch.requests for batch in world.rows()]
    assert sizes[:2] == [CALLS, CALLS // 2]
    assert {batch.state for batch in world.rows()} == {SETTLED, REFUSED}


def test_fatal_error_stops_the_delivery(world: World) -> None:
    world.server.configure(model="another")
    with pytest.raises(AccessError, match="check the model"):
        world.deliver()
    # Nothing was paid, nothing is lost: it goes on once somebody has mended it.
    assert batches.enqueued(world.db, RUN)[0] == CALLS
    world.server.configure()
    world.deliver()
    world.assert_each_call_is_paid_and_booked_once()


def test_a_batch_that_fails_stops_the_delivery_with_its_reason(world: World) -> None:
    spoiled = Spoiled(world.client)
    delivery = BatchDelivery(world.db, runs.load_run(world.db, RUN), spoiled, world.clock, AT_ONCE)  # type: ignore[arg-type]
    with pytest.raises(AccessError, match="This line is not a call"):
        delivery.tick()
    [batch] = world.rows()
    assert (batch.state, batch.answered) == (REFUSED, 0)
    world.deliver()
    world.assert_each_call_is_paid_and_booked_once()


def test_absent_server_costs_no_call(world: World) -> None:
    away = BatchDelivery(world.db, runs.load_run(world.db, RUN), Away(world.client), world.clock, AT_ONCE)  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(Unavailable):
            away.tick()
        world.clock.advance(5)
    assert len(world.rows()) == 1
    world.deliver()
    world.assert_each_call_is_paid_and_booked_once()


def test_a_batch_is_looked_at_less_often_as_it_grows_old(world: World) -> None:
    world.server.configure(batch_latency_ms=3_600_000)
    counted = Counted(world.client)
    delivery = BatchDelivery(world.db, runs.load_run(world.db, RUN), counted, world.clock)  # type: ignore[arg-type]
    world.clock.advance(60)
    delivery.tick()
    for _ in range(300):
        world.clock.advance(1)
        delivery.tick()
    # Every two seconds at first, every minute after four: never a thousand times a day and batch.
    assert 10 < counted.looks < 30
    world.cancel()


def test_cancelled_batch_is_submitted_again(world: World) -> None:
    world.server.configure(batch_latency_ms=3_600_000)
    delivery = BatchDelivery(world.db, runs.load_run(world.db, RUN), world.client, world.clock, AT_ONCE)
    delivery.tick()
    world.cancel()
    world.server.configure()
    world.deliver()
    world.assert_each_call_is_paid_and_booked_once()
    assert [(batch.message, batch.answered) for batch in world.rows()] == [
        ("cancelled", 0),
        ("completed", CALLS),
    ]


def test_a_denied_key_pauses_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    world.server.configure(key="another")
    stop = threading.Event()
    batch_delivery._deliver(world.db, runs.load_run(world.db, RUN), stop)
    state, message = runs.run_state(world.db, RUN)
    assert state == PAUSED
    assert "set OPENAI_API_KEY to a valid key" in message
    assert KEY not in message


def test_delivery_stops_while_the_server_is_away(world: World) -> None:
    world.server.configure(outage_s=600, p500=1)
    with batch_delivery.deliver_batches(world.db, runs.load_run(world.db, RUN)):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "batches"]
    assert runs.run_state(world.db, RUN)[0] == RUNNING


class Away:
    """A server that takes files and then is not there."""

    def __init__(self, client: BatchClient) -> None:
        self.address, self.find_file, self.upload = client.address, client.find_file, client.upload

    def find_batch(self, *_: object) -> str:
        raise Unavailable("nobody answers")


class Spoiled:
    """A client that uploads an invalid batch."""

    def __init__(self, client: BatchClient) -> None:
        self._client = client

    def upload(self, name: str, _: object) -> str:
        return self._client.upload(name, io.BytesIO(b"nonsense\n"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class Counted:
    """Counts how often it is asked after a batch."""

    def __init__(self, client: BatchClient) -> None:
        self._client, self.looks = client, 0

    def retrieve(self, batch_id: str) -> object:
        self.looks += 1
        return self._client.retrieve(batch_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def generations(world: World) -> list[str]:
    with world.db.read() as connection:
        return list(connection.scalars(select(GENERATIONS.c.key)))


def again(world: World, unit_id: int) -> ClaimedUnit:
    [claimed] = claim_units(world.db, "worker", [unit_id], world.clock.advance(1))
    return claimed
