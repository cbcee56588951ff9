"""Requests that a recording answers, as the ledger shall know them."""

from __future__ import annotations

from dataclasses import replace

from models.endpoints import Teacher
from models.errors import AccessError
from models.recording import Asker, Recording
from models.rounds import round_of
from models.students import Student
from models.types import Completion, Request
from storage.ledger.claims import Work
from storage.ledger.generations import storable
from storage.ledger.repeats import repeats
from worker.context import RunContext


async def as_recorded(
    context: RunContext, endpoint: Teacher | Student, request: Request, work: Work | None = None
) -> Request:
    """The request itself where the model is asked. `work` is the unit that asks, None where several do.
    Raises NotRecorded, ServiceError."""
    if endpoint.backend != "replay":
        return request
    recording = context.runtime.resources.recording(endpoint)
    return recording.named(request, await _asker(context, work, recording) if work else None)


def require_as_recorded(
    context: RunContext, endpoint: Teacher | Student, request: Request, found: Completion
) -> None:
    """Raises AccessError where the ledger holds another answer: what was sampled twice is not the same."""
    if endpoint.backend != "replay":
        return
    recording = context.runtime.resources.recording(endpoint)
    recorded = storable(recording.answer(request))
    if (recorded.text, recorded.refusal) != (found.text, found.refusal):
        raise AccessError(
            f"{endpoint.name}: the ledger holds another answer than {recording.source} to the same request; "
            "replay the recording in a STARMILL_HOME of its own"
        )


async def _asker(context: RunContext, work: Work, recording: Recording) -> Asker:
    asker = Asker(work.stage, work.split, work.example.question_id, work.example.request)
    if work.stage == "grow":
        asker = replace(asker, round=round_of(work.variant), sample=work.sample)
    if not recording.knows_stages:
        return asker
    if context.repeats is None:
        context.repeats = await context.runtime.ledger(repeats, context.run.id)
    known, number = context.repeats, work.example_id
    return replace(
        asker, nth_of_id=known.of_id.get(number, 0), nth_of_request=known.of_request.get(number, 0)
    )
