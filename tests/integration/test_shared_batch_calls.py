"""Units that were asked for together come back from a batch in other company; nothing is asked again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from models.adapters.backends.batch_api import BatchClient
from storage.ledger import batches
from storage.schema import GENERATIONS, TRAIN
from storage.settings import Settings
from tests.openai_server.process import OpenAIServer
from tests.support.batch_run import RUN, deliver
from tests.support.clock import Clock
from tests.support.small_run import claim_units, ids, plan, units
from worker.runtime import Runtime
from worker.steps.augment import augment


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    clock = Clock(time.time())
    opened = Runtime(Settings(home=tmp_path), clock=clock)
    opened.db.migrate()
    yield opened
    opened.close()
    opened._loop.close()  # a worker leaves that to the end of its process


def run_augment(runtime: Runtime, unit_ids: list[int]) -> list[str | None]:
    """The calls that the units which ended rest on."""
    claimed_units = claim_units(runtime.db, runtime.owner, unit_ids, runtime.clock())
    assert len(claimed_units) == len(unit_ids)

    async def augmented() -> list[str | None]:
        outcomes = await augment(await runtime.context(RUN), claimed_units)
        assert all(outcome.result for outcome in outcomes)
        return [outcome.generation for outcome in outcomes]

    return runtime.wait_for(augmented())


def test_shared_batch_call_answers_its_units_after_regrouping(
    runtime: Runtime, openai_server: OpenAIServer
) -> None:
    db, clock = runtime.db, runtime.clock
    assert isinstance(clock, Clock)
    teacher = {"backend": "openai", "model": "m", "base_url": openai_server.url, "delivery": "batch"}
    run = plan(db, clock, RUN, train=5, teacher=teacher, augment={"batch_size": 4})
    first, second, third, fourth, alone = ids(db, stage="augment", split=TRAIN)
    together = [first, second, third, fourth]
    assert run_augment(runtime, together) == []
    assert run_augment(runtime, [alone]) == []
    keys = [unit.generation for unit in units(db, stage="augment", split=TRAIN)]
    assert len(set(keys[:4])) == 1
    assert keys[4] != keys[0]

    client = BatchClient(run.experiment.teacher)
    deliver(db, client, clock)
    client.close()
    assert openai_server.stats()["answers"] == 2
    assert run_augment(runtime, [fourth, alone]) == [keys[0], keys[4]]
    assert run_augment(runtime, [second]) == [keys[0]]
    assert run_augment(runtime, [first, third]) == [keys[0]] * 2
    assert batches.enqueued(db, RUN)[0] == 0


@pytest.mark.parametrize(("params", "limit"), [({}, 4 * 50), ({"max_tokens": 70}, 70)])
def test_limit_of_a_common_call(
    runtime: Runtime, openai_server: OpenAIServer, params: dict[str, int], limit: int
) -> None:
    """The teacher's limit is that of one augmentation, that of the section `augment` one of the call."""
    db, clock = runtime.db, runtime.clock
    assert isinstance(clock, Clock)
    teacher: dict[str, Any] = {"backend": "openai", "model": "m", "base_url": openai_server.url}
    teacher |= {"delivery": "batch", "params": {"max_tokens": 50}}
    plan(db, clock, RUN, train=4, teacher=teacher, augment={"batch_size": 4, "params": params})
    assert run_augment(runtime, ids(db, stage="augment", split=TRAIN)) == []
    with db.read() as connection:
        asked = connection.execute(select(GENERATIONS.c.request)).scalar_one()
    assert asked["params"]["max_tokens"] == limit
