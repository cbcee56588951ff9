"""Requests: a rendered prompt for an endpoint, and the name by which the ledger knows it if a recording
answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from models.adapters.backends import provider
from models.core.answers.cleaning import clean_completion
from models.core.errors import AccessError
from models.core.experiment.endpoints import Model
from models.core.pipeline.rounds import round_of
from models.core.prompts.rendering import StudentPrompt, format_messages
from models.core.recording import Asker, Recorded
from models.core.types import Completion, Message, Request
from storage.ledger import examples
from storage.ledger.claims import ClaimedUnit
from worker.run_context import RunContext, once_per_run


def chat(
    model: Model, messages: Sequence[Message], params: Mapping[str, Any], draw: tuple[int, int]
) -> Request:
    return _request(model, format_messages(model.prompt_format, messages), params, draw)


def chat_attempts(
    model: Model, messages: Sequence[Message], params: Mapping[str, Any], sample: int
) -> Callable[[int], Request]:
    """Return the request of each attempt; `params` override the model's own."""
    merged = {**model.params, **params}
    return lambda attempt: chat(model, messages, merged, (sample, attempt))


def to_student(student: Model, prompt: StudentPrompt, draw: tuple[int, int]) -> Request:
    return _request(student, prompt, student.params, draw)


def _request(
    model: Model, prompt: StudentPrompt, params: Mapping[str, Any], draw: tuple[int, int]
) -> Request:
    """Let the answer end at the `stop` of `params` and at those of the prompt format."""
    if prompt.stop:
        own = params.get("stop") or []
        stop = list(dict.fromkeys([*([own] if isinstance(own, str) else own), *prompt.stop]))
        params = {**params, "stop": stop}
    return Request(
        provider(model), model.model_name, prompt.messages, prompt.prompt, _drawn(params, draw), draw
    )


def _drawn(params: Mapping[str, Any], draw: tuple[int, int]) -> dict[str, Any]:
    """Give each draw a seed of its own: a fixed seed would give the same answer at every draw."""
    sample, attempt = draw
    seed = params.get("seed")
    return {**params, "seed": seed + 1009 * sample + attempt} if isinstance(seed, int) else dict(params)


async def as_recorded(
    context: RunContext, endpoint: Model, request: Request, unit: ClaimedUnit | None = None
) -> Request:
    """Return the request in the recording's terms; unchanged if a model is prompt. `unit` asks; it is None if
    several ask together. Raise NotRecorded or ServiceError."""
    if endpoint.backend != "replay":
        return request
    recording = context.clients.recording(endpoint)
    return recording.named(request, await _asker(context, unit, recording) if unit else None)


def require_as_recorded(
    context: RunContext, endpoint: Model, request: Request, completion: Completion
) -> None:
    """Raise AccessError if the ledger holds another answer, as it does when a model was sampled twice."""
    if endpoint.backend != "replay":
        return
    recording = context.clients.recording(endpoint)
    recorded = clean_completion(recording.answer(request))
    if (recorded.text, recorded.refusal) != (completion.text, completion.refusal):
        raise AccessError(
            f"{endpoint.name}: the ledger holds another answer than {recording.source} to the same request; "
            "replay the recording in a STARMILL_HOME of its own"
        )


async def _asker(context: RunContext, unit: ClaimedUnit, recording: Recorded) -> Asker:
    example = unit.example
    asker = Asker(unit.stage, unit.split, example.question_id, example.request, row=example.row)
    if unit.kind:
        asker = replace(asker, in_steps=True, sample=unit.sample)
    elif unit.stage == "grow":
        asker = replace(asker, round=round_of(unit.variant), sample=unit.sample)
    elif unit.stage == "answer":
        asker = replace(asker, cell=unit.variant, sample=unit.sample)
    if not recording.knows_stages:
        return asker
    repeats, number = await _repeats(context), unit.example_id
    return replace(
        asker, nth_of_id=repeats.of_id.get(number, 0), nth_of_request=repeats.of_request.get(number, 0)
    )


@once_per_run
async def _repeats(context: RunContext) -> examples.Repeats:
    return await context.ledger(examples.repeats, context.run.id)
