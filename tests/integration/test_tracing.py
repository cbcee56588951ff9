"""Units of a real runtime as an OpenTelemetry collector sees them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from storage.schema import TRAIN
from storage.settings import Settings
from tests.openai_server.process import OpenAIServer
from tests.support.clock import Clock
from tests.support.leaks import tells
from tests.support.otlp import Collector, attributes, collecting
from tests.support.services import closed_port
from tests.support.small_run import ids, plan, units
from worker import tracing
from worker.execute_unit import execute_units
from worker.runtime import Runtime

RUN = "small-1"


@pytest.fixture
def runtime(tmp_path: Path, redis_url: str) -> Iterator[Runtime]:
    opened = Runtime(Settings(home=tmp_path, redis_url=redis_url), clock=Clock(time.time()))
    opened.db.migrate()
    yield opened
    opened.close()
    opened._loop.close()  # a worker leaves that to the end of its process


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as opened:
        yield opened


def augmented(runtime: Runtime, server: OpenAIServer, collector: Collector, **sections: object) -> list[int]:
    """Units of the stage augment that were lived and traced."""
    teacher = {"backend": "openai", "model": "large", "base_url": server.url}
    clock = runtime.clock
    assert isinstance(clock, Clock)
    plan(runtime.db, clock, RUN, teacher=teacher, **sections)
    asked = ids(runtime.db, RUN, stage="augment", split=TRAIN)
    tracing.open_tracing("teacher@host", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    try:
        runtime.wait_for(execute_units(runtime, asked))
    finally:
        tracing.close_tracing()
    return asked


@pytest.fixture(autouse=True)
def _endpoint(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter reads it for itself."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)


def test_each_unit_is_a_span_with_its_parts(
    runtime: Runtime, openai_server: OpenAIServer, collector: Collector
) -> None:
    asked = augmented(runtime, openai_server, collector, augment={"batch_size": 1})
    spans = collector.units()
    assert sorted(spans) == asked
    for row, unit in enumerate(asked):
        span = spans[unit]
        assert span.name == "unit augment"
        assert attributes(span) == {
            "starmill.run": RUN, "starmill.stage": "augment", "starmill.unit": unit, "starmill.variant": "",
            "starmill.example": f"train/{row}", "starmill.outcome": "done",
        }  # fmt: skip
        parts = sorted(collector.below(span), key=lambda part: part.start_time_unix_nano)
        assert [part.name for part in parts] == ["claim", "wait for limit", "chat large", "commit"]
        assert span.start_time_unix_nano <= parts[0].start_time_unix_nano
        assert all(one.end_time_unix_nano <= next_.start_time_unix_nano for one, next_ in pairwise(parts))
        assert parts[-1].end_time_unix_nano <= span.end_time_unix_nano
        values = attributes(parts[2])
        assert parts[2].kind == Span.SPAN_KIND_CLIENT
        assert values["gen_ai.operation.name"] == "chat"
        assert values["gen_ai.request.model"] == "large"
        assert values["gen_ai.usage.input_tokens"] > 0
        assert values["gen_ai.usage.output_tokens"] > 0
        assert values["gen_ai.response.finish_reasons"] == ("stop",)
    assert collector.resources[0]["service.name"] == "starmill"
    assert collector.resources[0]["service.instance.id"] == "teacher@host"


def test_a_common_call_hangs_below_the_first_unit(
    runtime: Runtime, openai_server: OpenAIServer, collector: Collector
) -> None:
    first, *others = augmented(runtime, openai_server, collector, augment={"batch_size": 3})
    spans = collector.units()
    assert "chat large" in {part.name for part in collector.below(spans[first])}
    for unit in others:
        assert [part.name for part in collector.below(spans[unit])] == ["claim"]
        assert [link.span_id for link in spans[unit].links] == [spans[first].span_id]


def test_traces_name_errors_and_hold_no_request(
    runtime: Runtime, openai_server: OpenAIServer, collector: Collector
) -> None:
    openai_server.configure(max_context=1)
    asked = augmented(runtime, openai_server, collector, augment={"batch_size": 1})
    [unit, *_] = units(runtime.db, RUN, id=asked[0])
    for span in collector.units().values():
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert attributes(span)["starmill.outcome"] == unit.reason
        [call] = [part for part in collector.below(span) if part.name == "chat large"]
        assert call.status == Status(code=Status.STATUS_CODE_ERROR)
        assert attributes(call)["error.type"]
        assert not call.events
    assert not [body for body in collector.bodies if tells(body, ["sort 0", "sort 1", "sort 2"])]


def test_a_collector_that_is_away_delays_the_end_for_seconds_at_most(
    runtime: Runtime, openai_server: OpenAIServer, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.monotonic()
    with closed_port() as port:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        asked = augmented(runtime, openai_server, collector, augment={"batch_size": 1})
    assert time.monotonic() - started < 30
    assert {unit.state for unit in units(runtime.db, RUN) if unit.id in asked} == {"done"}


@pytest.mark.parametrize(
    "environment",
    [{}, {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"},
     {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"},
     {"OTEL_TRACES_EXPORTER": "console"}],
)  # fmt: skip
def test_tracing_is_off_by_default(environment: dict[str, str]) -> None:
    tracing.open_tracing("teacher@host", environment)
    assert tracing.span("commit") is tracing.NO_SPAN
    assert tracing.unit_spans([], (0, 0)) is tracing.NO_SPAN
