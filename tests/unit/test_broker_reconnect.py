"""A worker tries again soon, however often Redis was away."""

from __future__ import annotations

import pytest
from kombu.exceptions import OperationalError

from worker.celery import MAX_RECONNECT_SECONDS, app


class Enough(Exception):
    """Raised to end the waiting."""


def test_the_wait_does_not_grow_without_end() -> None:
    waits: list[float] = []

    def note(_: OperationalError, seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise Enough

    with app.connection_for_read("redis://127.0.0.1:1/0") as connection, pytest.raises(Enough):
        connection.ensure_connection(note, interval_start=0.1, interval_step=MAX_RECONNECT_SECONDS + 1)
    assert max(waits) <= MAX_RECONNECT_SECONDS + 0.1
