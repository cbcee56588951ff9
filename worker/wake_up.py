"""A step of Celery's worker: wake its event loop when the worker is to stop.

The loop looks for that when Redis has sent something, or else once a second.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from celery import bootsteps

_pipes: list[tuple[int, int]] = []


class WakeUp(bootsteps.Step):  # type: ignore[misc]  # Celery has no types
    """Let the event loop of a consumer wait for `wake`, too."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def register_with_event_loop(self, _consumer: Any, hub: Any) -> None:
        """Celery calls this whenever it begins its loop, with the same or another hub."""
        if not _pipes:
            _pipes.append(os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe())
        reading, _ = _pipes[0]
        hub.add_reader(reading, _drain, reading)


def wake() -> None:
    """Make the loop look whether the worker is to stop. Signal handlers and threads may call this."""
    for _, writing in _pipes:
        with contextlib.suppress(BlockingIOError):
            os.write(writing, b"\0")


def _drain(reading: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(reading, 64)
