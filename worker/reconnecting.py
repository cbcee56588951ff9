"""How soon a worker is back once Redis is: Celery waits longer from try to try, up to half a minute, and has
no setting for it."""

from __future__ import annotations

from typing import Any

from celery.app.amqp import AMQP
from kombu.connection import Connection

MOST_SECONDS = 4


class PromptConnection(Connection):
    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        wanted = {"interval_max": MOST_SECONDS, **kwargs}
        return super().ensure_connection(*args, **wanted)  # type: ignore[no-untyped-call]  # kombu has no types


class PromptAMQP(AMQP):  # type: ignore[misc]  # Celery has no types
    Connection = PromptConnection
