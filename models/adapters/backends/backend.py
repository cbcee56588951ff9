"""The interface of every model backend, and the backend that answers from a recording."""

from __future__ import annotations

from typing import Protocol

from models.core.engine_load import Load
from models.core.recording import Recorded
from models.core.types import Completion, Limits, Request


class Backend(Protocol):
    limits: Limits
    """The rate limits in the server's last headers."""

    async def complete(self, request: Request) -> Completion:
        """Ask the model once, without retries. Raises ModelError."""
        ...

    def count_tokens(self, request: Request) -> int | None:
        """Return the tokens of the prompt with its template; None if only the server knows."""
        ...

    async def close(self) -> None: ...


class LocalBackend(Backend, Protocol):
    """A model that runs in the worker process."""

    load: Load

    @property
    def is_open(self) -> bool: ...

    async def open(self) -> None:
        """Open the model once; this may take minutes.

        Raises AccessError if no machine can open it, WorkerUnusable if only this one cannot.
        """
        ...


class Replay:
    def __init__(self, recording: Recorded) -> None:
        self.limits = Limits()
        self._recording = recording

    async def complete(self, request: Request) -> Completion:
        """Return the recorded answer. Nothing is sent or paid. Raises NotRecorded."""
        return self._recording.answer(request)

    def count_tokens(self, _request: Request) -> None:
        """Return None: a recording does not know its model's tokenizer."""

    async def close(self) -> None:
        """Do nothing."""
