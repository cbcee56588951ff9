"""A worker tries again soon, however often Redis was away, and says so once a minute."""

from __future__ import annotations

import logging

import pytest
from kombu.exceptions import OperationalError
from kombu.utils.imports import symbol_by_name
from redis.exceptions import OutOfMemoryError

from worker.celery import MAX_RECONNECT_SECONDS, app
from worker.patient_consumer import PatientConsumer, WithoutRepetition


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


def test_worker_uses_the_consumer_that_lives_on() -> None:
    assert app.conf.broker_channel_error_retry
    assert symbol_by_name(app.conf.worker_consumer) is PatientConsumer


def line(name: str, message: str, error: Exception | None = None) -> logging.LogRecord:
    raised = (type(error), error, None) if error else None
    return logging.LogRecord(name, logging.WARNING, __file__, 1, message, (), raised)


def test_warning_of_celery_is_logged_once_a_minute_without_its_traceback() -> None:
    lines = WithoutRepetition()
    first = line("kombu.asynchronous.hub", "Error in timer: %r", OutOfMemoryError("command not allowed"))
    assert lines.filter(first)
    assert first.getMessage() == "Redis is full, raise its maxmemory: command not allowed"
    assert first.exc_info is None
    assert not lines.filter(line("kombu.asynchronous.hub", "Error", OutOfMemoryError("command not allowed")))
    assert lines.filter(line("kombu.asynchronous.hub", "another"))
    assert all(lines.filter(line("worker.execute_unit", "ours")) for _ in range(3))
