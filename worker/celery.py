"""The Celery application that `celery -A worker` finds. Importing it reads and opens nothing.

Celery doubles its waits up to half a minute when Redis is away, and has no setting for it; PromptConnection
shortens them. PatientConsumer lives on when Redis refuses commands.
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

CONSUMER = {"worker_consumer": "worker.patient_consumer:PatientConsumer"}
app.add_defaults(lambda: celery_settings(load_settings()) | CONSUMER)


def _before_flower(context: Context, *_: Any) -> None:
    if context.info_name == "flower":
        from worker.flower import guard

        guard()


# Celery calls preload options before each command, also before commands of plugins. Nobody gives this one:
# its callback guards Flower when `celery -A worker flower` starts.
app.user_options["preload"].add(
    CeleryOption(["--guard"], hidden=True, expose_value=False, is_eager=True, callback=_before_flower)
)


MAX_RECONNECT_SECONDS = 4


class PromptConnection(Connection):
    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("interval_max", MAX_RECONNECT_SECONDS)
        return super().ensure_connection(*args, **kwargs)  # type: ignore[no-untyped-call]  # kombu has no types


class PromptAMQP(AMQP):  # type: ignore[misc]  # Celery has no types
    Connection = PromptConnection
