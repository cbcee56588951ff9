"""OpenTelemetry traces of units, if OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_TRACES_EXPORTER asks for them.

    unit answer            one for each unit: run, stage, unit, example, variant, and its outcome
      claim
      wait for limit       until the limits of all workers let the call start
      chat gpt-4o-mini     the call, by the GenAI semantic conventions
      commit

A call or a search that serves several units hangs below the first of them; the others link to that one. Spans
never hold a prompt, an answer or an error message. Without tracing, each point of it costs one `if`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from models.core.types import Completion, Request
from storage.ledger.claims import ClaimedUnit
from storage.ledger.outcomes import UnitOutcome

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

log = logging.getLogger(__name__)
# For the last spans when the worker stops: the collector may be away.
MAX_CLOSE_SECONDS = 5.0
ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
NO_SPAN = nullcontext(None)
_provider: TracerProvider | None = None
_tracer: Any = None


def open_tracing(worker: str, environment: Mapping[str, str] = os.environ) -> None:
    """Trace from now on, if the environment asks for it. Log a warning if that is impossible."""
    global _provider, _tracer  # noqa: PLW0603 (one for each process, as its logs are)
    if not _wanted(environment):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("no traces, though the environment asks for them: pip install 'starmill[otel]'")
        return
    named = {} if "OTEL_SERVICE_NAME" in environment else {"service.name": "starmill"}
    resource = Resource.create({**named, "service.instance.id": worker})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = _provider.get_tracer("starmill")


def _wanted(environment: Mapping[str, str]) -> bool:
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if exporter == "none" or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if exporter not in {"", "otlp"}:
        log.warning("OTEL_TRACES_EXPORTER=%s: traces are sent as otlp, or not at all (none)", exporter)
        return False
    return exporter == "otlp" or any(environment.get(name) for name in ENDPOINT_VARIABLES)


def close_tracing() -> None:
    """Send the remaining spans, if the collector accepts them in time."""
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, None
    if provider:
        thread = threading.Thread(target=provider.shutdown, daemon=True)
        thread.start()
        thread.join(MAX_CLOSE_SECONDS)


def span(name: str) -> AbstractContextManager[Span | None]:
    """Trace a part of a unit's execution."""
    return NO_SPAN if _tracer is None else _span(name, {})


def call_span(request: Request) -> AbstractContextManager[Span | None]:
    """Trace a call to a model; `answered` adds its result."""
    if _tracer is None:
        return NO_SPAN
    operation = "chat" if request.prompt is None else "text_completion"
    about = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": request.provider,
        "gen_ai.request.model": request.model,
    }
    return _span(f"{operation} {request.model}", about)


def answered(call: Span, completion: Completion) -> None:
    call.set_attribute("gen_ai.usage.input_tokens", completion.usage.prompt)
    call.set_attribute("gen_ai.usage.output_tokens", completion.usage.completion)
    call.set_attribute("gen_ai.response.finish_reasons", [completion.finish_reason])


def unit_spans(
    units: Sequence[ClaimedUnit], claimed: tuple[int, int]
) -> AbstractContextManager[dict[int, Span] | None]:
    """Trace units that end together; `ended` adds their outcomes. `claimed` is the begin and end of their
    claim, in ns since the epoch. The spans are by unit id."""
    return NO_SPAN if _tracer is None else _unit_spans(units, claimed)


def ended(spans: Mapping[int, Span], outcomes: Sequence[UnitOutcome]) -> None:
    """Add the outcomes. A released unit has none."""
    from opentelemetry.trace import StatusCode

    for outcome in outcomes:
        unit_span = spans[outcome.unit.unit_id]
        unit_span.set_attribute("starmill.outcome", outcome.reason or "done")
        unit_span.set_status(StatusCode.ERROR if outcome.reason else StatusCode.OK)


@contextmanager
def _span(name: str, attributes: Mapping[str, str]) -> Iterator[Span]:
    from opentelemetry.trace import SpanKind, StatusCode

    kind = SpanKind.CLIENT if attributes else SpanKind.INTERNAL
    with _tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as opened:
        try:
            yield opened
        except BaseException as error:
            # The name only: the message may quote a prompt.
            opened.set_attribute("error.type", type(error).__name__)
            opened.set_status(StatusCode.ERROR)
            raise


@contextmanager
def _unit_spans(units: Sequence[ClaimedUnit], claimed: tuple[int, int]) -> Iterator[dict[int, Span]]:
    from opentelemetry.trace import Link, set_span_in_context, use_span

    tracer, began = _tracer, claimed[0]
    links: list[Link] = []
    spans: dict[int, Span] = {}
    for unit in units:
        about = {
            "starmill.run": unit.run_id,
            "starmill.stage": unit.stage,
            "starmill.unit": unit.unit_id,
            "starmill.example": f"{unit.split}/{unit.example.row}",
            "starmill.variant": unit.variant,
        }
        unit_span = tracer.start_span(f"unit {unit.stage}", start_time=began, attributes=about, links=links)
        spans[unit.unit_id] = unit_span
        links = links or [Link(unit_span.get_span_context())]
        tracer.start_span("claim", context=set_span_in_context(unit_span), start_time=began).end(claimed[1])
    first = spans[units[0].unit_id]
    try:
        with use_span(first, record_exception=False, set_status_on_exception=False):
            yield spans
    finally:
        for unit_span in spans.values():
            unit_span.end()
