"""The Celery application that `celery -A starmill` and `celery -A worker` find. Importing it opens nothing.

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
from kombu.transport import redis

from storage.broker import celery_settings
from storage.settings import load_settings

app = Celery("starmill", include=["worker.tasks", "worker.process"], amqp="worker.celery:PromptAMQP")

CONSUMER = {"worker_consumer": "worker.patient_consumer:PatientConsumer"}
app.add_defaults(lambda: celery_settings(load_settings()) | CONSUMER)
app.user_options["worker"].add(
    CeleryOption(["--follow-runs"], is_flag=True, help="Serve the queues of all running runs as well.")
)
app.steps["consumer"].add("worker.follow_runs:FollowRuns")
app.steps["consumer"].add("worker.wake_up:WakeUp")


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


class OneClientChannel(redis.Channel):
    """Keeps its client of Redis, of which kombu makes two for each message: a client is dear to make."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[no-untyped-call]
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[no-untyped-call]
        return self._kept


class LightTransport(redis.Transport):
    Channel = OneClientChannel


class PromptConnection(Connection):
    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("interval_max", MAX_RECONNECT_SECONDS)
        return super().ensure_connection(*args, **kwargs)  # type: ignore[no-untyped-call]  # kombu has no types

    def get_transport_cls(self) -> Any:
        chosen = super().get_transport_cls()  # type: ignore[no-untyped-call]
        return LightTransport if chosen is redis.Transport else chosen


class PromptAMQP(AMQP):  # type: ignore[misc]  # Celery has no types
    Connection = PromptConnection
