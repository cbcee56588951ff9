"""A model that answers from a recording: nothing is sent, nothing is paid."""

from __future__ import annotations

from models.recording import Recording
from models.types import Completion, Limits, Request


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
