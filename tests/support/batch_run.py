"""A run whose calls are filed, and the delivery of them until a step at which it dies.

    python -m tests.support.batch_run DATABASE_URL STEP

STEP is one of STEPS, or nothing: then the delivery goes on until no call is left.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from models.adapters.backends.batch_api import BatchClient
from producer.feeding import batch_delivery
from producer.feeding.batch_delivery import BatchDelivery, BatchTiming
from storage.database import Database
from storage.ledger import batch_enqueue, batches, runs
from storage.ledger.purchases import CallClaim
from storage.ledger.runs import Run
from storage.schema import TRAIN
from tests.support.clock import Clock
from tests.support.small_run import Hand, plan, request

STEPS = ("gathered", "uploaded", "created", "polled", "fetched", "settling")
RUN = "small-1"
CALLS = 30
AT_ONCE = BatchTiming(quiet=0.0, patience=0.0, min_poll=0.0, max_poll=0.0)


class Mortal:
    """The client, until a step; then its process is killed, before anybody hears of the step."""

    def __init__(self, client: BatchClient, step: str) -> None:
        self.address = client.address
        self._client = client
        self._step = step

    def find_file(self, *arguments: Any) -> str | None:
        self._die_at("gathered")
        return self._client.find_file(*arguments)

    def upload(self, *arguments: Any) -> str:
        file = self._client.upload(*arguments)
        self._die_at("uploaded")
        return file

    def find_batch(self, *arguments: Any) -> str | None:
        return self._client.find_batch(*arguments)

    def create(self, *arguments: Any) -> str:
        made = self._client.create(*arguments)
        self._die_at("created")
        return made

    def retrieve(self, batch_id: str) -> Any:
        remote = self._client.retrieve(batch_id)
        self._die_at("polled")
        return remote

    def lines(self, file_id: str) -> Iterator[bytes]:
        lines = list(self._client.lines(file_id))
        self._die_at("fetched")
        for number, line in enumerate(lines):
            if number >= CALLS // 2:
                self._die_at("settling")
            yield line

    def _die_at(self, step: str) -> None:
        if step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


def file_calls(db: Database, clock: Clock, url: str, **teacher: Any) -> Run:
    """A run by batches; each of its CALLS train units has filed a call."""
    endpoint = {"backend": "openai", "model": "model", "base_url": url, "delivery": "batch"} | teacher
    run = plan(db, clock, RUN, train=CALLS, test=1, teacher=endpoint)
    for unit in Hand(db, run, clock).take(TRAIN, "augment"):
        asked = request(f"{unit.example.request}. This requires")
        assert batch_enqueue.enqueue_for_batch(db, "worker", [unit], CallClaim(unit, asked), clock()) is None
    return run


def deliver(db: Database, client: Any, clock: Clock, most: int = 1000) -> int:
    """Deliver all calls of the run. Return the number of ticks that it took."""
    delivery = BatchDelivery(db, runs.load_run(db, RUN), client, clock, AT_ONCE)
    for number in range(1, most + 1):
        clock.advance(1)
        delivery.tick()
        if not batches.unsettled(db, RUN) and not batches.enqueued(db, RUN)[0]:
            return number
    raise AssertionError(f"calls were left after {most} ticks")


def main(url: str, step: str = "") -> None:
    db = Database(url)
    batch_delivery.CHUNK = 5  # many transactions for few calls
    run = runs.load_run(db, RUN)
    client = BatchClient(run.experiment.teacher)
    deliver(db, Mortal(client, step), Clock(time.time()))
    client.close()
    db.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
