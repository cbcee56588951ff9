"""A worker that starts together with its Redis."""

from __future__ import annotations

import threading

import pytest

from producer.local.services import free_port
from tests.support.services import closed_port, running_valkey
from worker import celery_worker


def test_worker_waits_until_its_broker_accepts_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("STARMILL_REDIS_URL", f"redis://:secret@127.0.0.1:{port}/0")
    monkeypatch.setattr(celery_worker, "BROKER_SECONDS", 60.0)
    waiting = threading.Thread(target=celery_worker.wait_for_broker)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    with running_valkey(port):
        waiting.join(30)
        assert not waiting.is_alive()


def test_worker_goes_on_without_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery itself then says what is wrong, and tries again for ever."""
    monkeypatch.setattr(celery_worker, "BROKER_SECONDS", 0.1)
    with closed_port() as port:
        monkeypatch.setenv("STARMILL_REDIS_URL", f"redis://127.0.0.1:{port}/0")
        celery_worker.wait_for_broker()
    monkeypatch.delenv("STARMILL_REDIS_URL")
    celery_worker.wait_for_broker()
