"""Celery's consumer, for a Redis that is full, read-only or away for a while, and the lines that it logs.

Celery alone ends the worker when Redis refuses a command, as a full or read-only one does, and logs several
lines a second meanwhile.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

from storage.logs import MINUTE, OncePerMinute
from storage.service_errors import cause, machine_trouble, redis_trouble

log = logging.getLogger(__name__)
trouble_log = OncePerMinute(log)
PAUSE_SECONDS = 1.0
DROPPED = "it is dropped, since only the feeder should send to queues"
# What these log while Redis is in trouble says the same again and again.
REPETITIVE = ("celery.worker", "kombu", "py.warnings")


class PatientConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Connects again after any error, so that only a signal ends the worker."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Celery starts again after errors of a channel, if `broker_channel_error_retry` is set.
        self.channel_errors = (Exception,)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        self._log(exc)
        try:
            super().on_connection_error_after_connected(exc)
        except Exception as error:  # noqa: BLE001 (it is logged)
            # kombu restores messages of a connection that it has closed, while Redis is away.
            self.connection = None
            trouble_log.warning(f"the broken connection cannot be closed: {cause(error)}", "it is dropped")
        self._pause(exc)

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        self._log(exc)
        self._pause(exc)

    def on_unknown_message(self, _body: object, message: Any) -> None:
        self._drop(message)

    def on_unknown_task(self, _body: object, message: Any, _error: Exception) -> None:
        self._drop(message)

    def on_invalid_task(self, _body: object, message: Any, _error: Exception) -> None:
        self._drop(message)

    def on_decode_error(self, message: Any, _error: Exception) -> None:
        self._drop(message)

    def _drop(self, message: Any) -> None:
        """Drop a message that Celery cannot read, or whose task there is not, in one line a minute."""
        trouble_log.warning("a message is no task of a step", DROPPED)
        message.reject_log_error(log, self.connection_errors)

    def _log(self, error: Exception) -> None:
        trouble = redis_trouble(error) or machine_trouble(error)
        if not trouble:
            away = isinstance(error, self.connection_errors)
            says = "Redis is away" if away else f"the consumer broke: {type(error).__name__}"
            trouble = f"{says}: {cause(error)}"
        trouble_log.warning(trouble, "the worker connects again")
        log.debug("%s", trouble, exc_info=error)

    def _pause(self, error: Exception) -> None:
        """Wait if Redis answers and refuses: without a pause Celery would ask again at once."""
        if not isinstance(error, self.connection_errors):
            _sleep(PAUSE_SECONDS)


def _sleep(seconds: float) -> None:
    """Sleep, and end the worker if a signal came meanwhile."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        maybe_shutdown()
        time.sleep(0.1)


class WithoutRepetition(logging.Filter):
    """Drops a warning of Celery that was logged less than a minute ago, and tracebacks of passing errors."""

    def __init__(self) -> None:
        super().__init__()
        self._logged: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or not record.name.startswith(REPETITIVE):
            return True
        if record.name == "py.warnings" and "CPendingDeprecationWarning" in record.getMessage():
            return False  # of a release of Celery to come, at each lost connection
        error = record.exc_info[1] if record.exc_info else None
        trouble = error and (redis_trouble(error) or machine_trouble(error))
        if trouble:
            record.msg, record.args, record.exc_info, record.exc_text = trouble, (), None, None
        kind, now = f"{record.name}:{str(record.msg)[:40]}", time.monotonic()
        if now - self._logged.get(kind, float("-inf")) < MINUTE:
            return False
        self._logged = {each: at for each, at in self._logged.items() if now - at < MINUTE} | {kind: now}
        return True
