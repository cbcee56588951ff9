"""What every model backend offers.

A model that answers from a recording: nothing is sent, nothing is paid.
"""

from __future__ import annotations

from typing import Protocol

from models.core.engine_load import Load
from models.core.recording import Recording
from models.core.types import Completion, Limits, Request


class Backend(Protocol):
    limits: Limits
    """What the server told last."""

    async def complete(self, request: Request) -> Completion:
        """The model's answer, bought once: no retries. Raises ModelError."""
        ...

    def count_tokens(self, request: Request) -> int | None:
        """Tokens of the prompt as the model reads it, its template included; None where only the server
        knows."""
        ...

    async def close(self) -> None: ...


class LocalBackend(Backend, Protocol):
    """A model that runs in the worker itself."""

    load: Load

    @property
    def is_open(self) -> bool: ...

    async def open(self) -> None:
        """Return when the model can be asked, which may take minutes; it is opened once. Raises AccessError
        where it cannot be opened anywhere, WorkerUnfit where this machine cannot."""
        ...


class Replay:
    def __init__(self, recording: Recording) -> None:
        self.limits = Limits()
        self._recording = recording

    async def complete(self, request: Request) -> Completion:
        """Raises NotRecorded."""
        return self._recording.answer(request)

    def count_tokens(self, _request: Request) -> None:
        """A recording knows what was asked, not what would have fitted."""

    async def close(self) -> None:
        """Nothing is open."""
