"""How a rendered prompt becomes a request to an endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.backends import provider
from models.endpoints import Teacher
from models.students import Student
from models.types import Message, Request


def chat(
    endpoint: Teacher | Student,
    messages: Sequence[Message],
    params: Mapping[str, Any],
    draw: tuple[int, int],
) -> Request:
    return Request(provider(endpoint), endpoint.model_name, tuple(messages), None, _drawn(params, draw), draw)


def completion(
    endpoint: Teacher | Student, prompt: str, params: Mapping[str, Any], draw: tuple[int, int]
) -> Request:
    return Request(provider(endpoint), endpoint.model_name, (), prompt, _drawn(params, draw), draw)


def _drawn(params: Mapping[str, Any], draw: tuple[int, int]) -> dict[str, Any]:
    """A fixed seed would give the same answer at every draw: each gets one of its own."""
    sample, attempt = draw
    seed = params.get("seed")
    return {**params, "seed": seed + 1009 * sample + attempt} if isinstance(seed, int) else dict(params)
