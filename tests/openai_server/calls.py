"""Calls through the real backend, for tests that are not asynchronous themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from models.adapters.backends.backend import Backend
from models.adapters.backends.gateway_client import GatewayClient
from models.adapters.backends.openai import OpenAIBackend
from models.core.errors import ModelError
from models.core.experiment.endpoints import Model
from models.core.types import Completion, Request


def ask(url: str, request: Request, gateway: GatewayClient | None = None, **settings: object) -> Completion:
    """One call; `settings` are those of a model. Raises ModelError."""
    (outcome,) = ask_all(url, [request], gateway, **settings)
    if isinstance(outcome, ModelError):
        raise outcome
    return outcome


def ask_all(
    url: str, requests: Sequence[Request], gateway: GatewayClient | None = None, **settings: object
) -> list[Completion | ModelError]:
    """All at once through one backend; an error stands where it happened."""

    model = Model.model_validate({"backend": "openai", "model": "any", "api_key_env": "", **settings})
    return ask_backend(lambda: OpenAIBackend(model, url, gateway), requests)


def ask_backend(
    open_backend: Callable[[], Backend], requests: Sequence[Request]
) -> list[Completion | ModelError]:
    """All at once, on a loop and through a backend of their own; an error stands where it happened."""

    async def outcome(backend: Backend, request: Request) -> Completion | ModelError:
        try:
            return await backend.complete(request)
        except ModelError as error:
            return error

    async def all_at_once() -> list[Completion | ModelError]:
        backend = open_backend()
        try:
            return await asyncio.gather(*(outcome(backend, request) for request in requests))
        finally:
            await backend.close()

    return asyncio.run(all_at_once())
