"""Calls that batches do not answer: counted, charged, and given up with a reason."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import func, select

from models.adapters.backends.batch_api import BatchClient, RemoteBatch
from producer.feeding import batch_failures
from storage.database import Database
from storage.ledger import counts
from storage.ledger.budget import read_budget
from storage.schema import BATCHES, GENERATIONS
from tests.openai_server.process import OpenAIServer
from tests.support.batch_run import CALLS, RUN, deliver, file_calls
from tests.support.clock import Clock
from tests.support.small_run import units


@dataclass(frozen=True)
class Filed:
    """A run with filed calls, and the client of its teacher."""

    db: Database
    client: BatchClient
    clock: Clock

    def batches(self) -> int:
        with self.db.read() as connection:
            return int(connection.execute(select(func.count()).select_from(BATCHES)).scalar_one())

    def first_key(self) -> str:
        with self.db.read() as connection:
            return str(connection.execute(select(func.min(GENERATIONS.c.key))).scalar_one())


@pytest.fixture
def filed(database: Database, clock: Clock, openai_server: OpenAIServer) -> Iterator[Filed]:
    clock.now = time.time() - 60
    run = file_calls(database, clock, openai_server.url, price={"input": 2.0, "output": 8.0})
    client = BatchClient(run.experiment.teacher)
    yield Filed(database, client, clock)
    client.close()


@dataclass
class Changed:
    """A client whose batches end as `status` says, with these lines in place of their own."""

    client: BatchClient
    change: Callable[[bytes], bytes | None]
    files: bool = True

    def retrieve(self, batch_id: str) -> RemoteBatch:
        remote = self.client.retrieve(batch_id)
        return remote if self.files else replace(remote, files=())

    def lines(self, file_id: str) -> Iterator[bytes]:
        for line in self.client.lines(file_id):
            if changed := self.change(line):
                yield changed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


def refusals(filed: Filed) -> list[tuple[str, str]]:
    query = select(GENERATIONS.c.finish_reason, GENERATIONS.c.refusal).where(GENERATIONS.c.done.is_(False))
    with filed.db.read() as connection:
        return [(row.finish_reason, row.refusal) for row in connection.execute(query)]


def test_a_completed_batch_without_a_file_ends_with_a_reason(filed: Filed) -> None:
    deliver(filed.db, Changed(filed.client, lambda line: line, files=False), filed.clock, most=50)
    assert filed.batches() == batch_failures.MAX_FAILURES
    assert {reason for reason, _ in refusals(filed)} == {"server_error"}
    assert all("is completed without an answer to it" in detail for _, detail in refusals(filed))
    assert [unit for unit in units(filed.db, RUN) if unit.lease_owner] == []


def test_a_call_that_fails_in_every_batch_is_given_up_and_no_other(filed: Filed) -> None:
    bad = filed.first_key()

    def fail(line: bytes) -> bytes:
        result = json.loads(line)
        if result["custom_id"] == bad:
            result["response"] = {"status_code": 500, "body": {"error": {"message": "boom"}}}
        return json.dumps(result).encode()

    deliver(filed.db, Changed(filed.client, fail), filed.clock, most=50)
    assert filed.batches() == batch_failures.MAX_FAILURES
    assert [(reason, "boom" in detail) for reason, detail in refusals(filed)] == [("server_error", True)]
    assert counts.spending(filed.db, RUN).calls == CALLS - 1


def test_an_answer_that_was_broken_off_is_charged_and_asked_again(filed: Filed) -> None:
    broken: list[bytes] = []

    def break_off(line: bytes) -> bytes:
        result = json.loads(line)
        if not broken:
            broken.append(line)
            result["response"]["body"]["choices"][0]["finish_reason"] = "abort"
        return json.dumps(result).encode()

    deliver(filed.db, Changed(filed.client, break_off), filed.clock)
    usage = json.loads(broken[0])["response"]["body"]["usage"]
    lost = usage["prompt_tokens"] * 2_000 + usage["completion_tokens"] * 8_000
    assert read_budget(filed.db, RUN).unanswered == lost
    assert counts.spending(filed.db, RUN).calls == CALLS
