"""A worker loads what it keeps about a run once, and drops it when the run is over and no unit needs it."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.core.recording import recorded_row
from storage.ledger import runs
from storage.settings import Settings
from tests.support.chores import write_jsonl
from tests.support.clock import Clock
from tests.support.small_run import plan, purchase, request
from worker.run_context import RunContext, once_per_run
from worker.runtime import Runtime

RUN = "small-1"
# Many heartbeats of a lease of one second.
PATIENCE = 30.0


class Value:
    """Something big."""


@once_per_run
async def load(_context: RunContext, name: str) -> Value:
    await asyncio.sleep(0)
    if name == "broken":
        raise ValueError(name)
    return Value()


@pytest.fixture
def runtime(tmp_path: Path, clock: Clock) -> Iterator[Runtime]:
    opened = Runtime(Settings(home=tmp_path, lease_seconds=1), clock=clock)
    opened.db.migrate()
    row = recorded_row(request().body(), purchase(request()).completion)
    recording = write_jsonl(tmp_path / "recording.jsonl", [row])
    plan(opened.db, clock, RUN, teacher={"backend": "replay", "model": "m", "recording": str(recording)})
    yield opened
    opened.close()
    opened._loop.close()  # a worker leaves that to the end of its process


def dropped(value: object) -> threading.Event:
    event = threading.Event()
    weakref.finalize(value, event.set)
    return event


def test_a_value_is_loaded_once_for_each_context_and_arguments(runtime: Runtime) -> None:
    async def loads() -> list[Value]:
        context = await runtime.context(RUN)
        return await asyncio.gather(load(context, "a"), load(context, "a"), load(context, "b"))

    first, same, other = runtime.wait_for(loads())
    assert first is same
    assert other is not first
    assert runtime.wait_for(loads())[0] is first


def test_an_error_is_not_kept(runtime: Runtime) -> None:
    context = runtime.wait_for(runtime.context(RUN))
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            runtime.wait_for(load(context, "broken"))


def test_a_run_that_is_over_is_dropped_with_all_that_was_kept_for_it(runtime: Runtime) -> None:
    context = runtime.wait_for(runtime.context(RUN))
    value = dropped(runtime.wait_for(load(context, "a")))
    recording = dropped(context.clients.recording(context.experiment.teacher))

    runtime.wait_for(runtime.drop_ended_runs())
    assert runtime.wait_for(runtime.context(RUN)) is context, "it is running"

    runs.stop_run(runtime.db, RUN, "stopped")
    runtime.wait_for(runtime.drop_ended_runs())
    assert not value.is_set(), "a unit holds the context"
    assert not recording.is_set()
    del context
    assert value.wait(PATIENCE)
    assert recording.wait(PATIENCE)


def test_two_may_drop_a_run_at_once(runtime: Runtime) -> None:
    runtime.wait_for(runtime.context(RUN))
    runs.stop_run(runtime.db, RUN, "stopped")

    async def drop_twice() -> None:
        await asyncio.gather(runtime.drop_ended_runs(), runtime.drop_ended_runs())

    runtime.wait_for(drop_twice())
    assert not runtime._contexts


def test_runs_that_are_over_are_dropped_by_and_by(runtime: Runtime) -> None:
    value = dropped(runtime.wait_for(load(runtime.wait_for(runtime.context(RUN)), "a")))
    runs.stop_run(runtime.db, RUN, "stopped")
    assert value.wait(PATIENCE)
