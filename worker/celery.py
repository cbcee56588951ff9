"""The Celery application that `celery -A worker` finds. Nothing is read or opened before it is used.

How soon a worker is back once Redis is: Celery waits longer from try to try, up to half a minute, and has
no setting for it.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from celery.bin.base import CeleryOption
from click import Context
from kombu.connection import Connection

from storage.broker import celery_settings
from storage.settings import load_settings

app = Celery("starmill", include=["worker.tasks", "worker.process"], amqp="worker.celery:PromptAMQP")

app.add_defaults(lambda: celery_settings(load_settings()))


def _before_flower(context: Context, *_: Any) -> None:
    if context.info_name == "flower":
        from worker.flower import guard

        guard()


# Celery adds preload options to each of its commands, those of plugins too, and asks them first. This one
# is never given: it is where Starmill comes between `celery -A worker flower` and Flower.
app.user_options["preload"].add(
    CeleryOption(["--guard"], hidden=True, expose_value=False, is_eager=True, callback=_before_flower)
)


MAX_RECONNECT_SECONDS = 4


class PromptConnection(Connection):
    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        wanted = {"interval_max": MAX_RECONNECT_SECONDS, **kwargs}
        return super().ensure_connection(*args, **wanted)  # type: ignore[no-untyped-call]  # kombu has no types


class PromptAMQP(AMQP):  # type: ignore[misc]  # Celery has no types
    Connection = PromptConnection
