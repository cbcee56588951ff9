"""How a rendered prompt becomes a request to an endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.backends import provider
from models.endpoints import Teacher
from models.prompts import Asked
from models.students import Student
from models.types import Message, Request


def chat(
    endpoint: Teacher,
    messages: Sequence[Message],
    params: Mapping[str, Any],
    draw: tuple[int, int],
) -> Request:
    return Request(provider(endpoint), endpoint.model_name, tuple(messages), None, _drawn(params, draw), draw)


def to_student(student: Student, asked: Asked, draw: tuple[int, int]) -> Request:
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
