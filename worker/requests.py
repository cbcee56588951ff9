"""How a rendered prompt becomes a request to an endpoint.

Requests that a recording answers, as the ledger shall know them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from models.adapters.backends import provider
from models.core.errors import AccessError
from models.core.experiment.endpoints import Student, Teacher
from models.core.pipeline.rounds import round_of
from models.core.prompts.rendering import StudentPrompt
from models.core.recording import Asker, Recording
from models.core.types import Completion, Message, Request
from storage.ledger.claims import ClaimedUnit
from storage.ledger.examples import repeats
from storage.ledger.purchases import storable
from worker.run_context import RunContext


def chat(
    endpoint: Teacher,
    messages: Sequence[Message],
    params: Mapping[str, Any],
    draw: tuple[int, int],
) -> Request:
    return Request(provider(endpoint), endpoint.model_name, tuple(messages), None, _drawn(params, draw), draw)


def to_student(student: Student, asked: StudentPrompt, draw: tuple[int, int]) -> Request:
    """The answer ends at the student's own `stop` and at those of its prompt format."""
    params = dict(student.params)
    if asked.stop:
        own = params.get("stop") or []
        params["stop"] = list(dict.fromkeys([*([own] if isinstance(own, str) else own), *asked.stop]))
    return Request(
        provider(student), student.model_name, asked.messages, asked.prompt, _drawn(params, draw), draw
    )


def _drawn(params: Mapping[str, Any], draw: tuple[int, int]) -> dict[str, Any]:
    """A fixed seed would give the same answer at every draw: each gets one of its own."""
    sample, attempt = draw
    seed = params.get("seed")
    return {**params, "seed": seed + 1009 * sample + attempt} if isinstance(seed, int) else dict(params)


async def as_recorded(
    context: RunContext, endpoint: Teacher | Student, request: Request, unit: ClaimedUnit | None = None
) -> Request:
    """The request itself where the model is asked. `unit` is the unit that asks, None where several do.
    Raises NotRecorded, ServiceError."""
    if endpoint.backend != "replay":
        return request
    recording = context.runtime.resources.recording(endpoint)
    return recording.named(request, await _asker(context, unit, recording) if unit else None)


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


async def _asker(context: RunContext, unit: ClaimedUnit, recording: Recording) -> Asker:
    asker = Asker(unit.stage, unit.split, unit.example.question_id, unit.example.request)
    if unit.stage == "grow":
        asker = replace(asker, round=round_of(unit.variant), sample=unit.sample)
    if not recording.knows_stages:
        return asker
    if context.repeats is None:
        context.repeats = await context.runtime.ledger(repeats, context.run.id)
    known, number = context.repeats, unit.example_id
    return replace(
        asker, nth_of_id=known.of_id.get(number, 0), nth_of_request=known.of_request.get(number, 0)
    )
