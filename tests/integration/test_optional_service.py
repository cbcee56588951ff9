"""A service that keeps dying ends a run, unless nothing needs it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.core.errors import ServiceError
from producer.local.supervisor import MAX_DEATHS, Service, Supervisor


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    opened = Supervisor(tmp_path)
    yield opened
    opened.stop()


def check_often(supervisor: Supervisor) -> None:
    """Each time when what was started is dead."""
    for _ in range(2 * MAX_DEATHS):
        for service in supervisor.services:
            if service.process:
                service.process.wait()
        supervisor.check()


def dying(tmp_path: Path, optional: bool) -> Service:
    command = ["sh", "-c", "echo no port; exit 3"]
    return Service("flower", command, tmp_path / "flower.log", lambda: True, optional=optional)


def test_needed_service_that_keeps_dying_ends_the_run(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(dying(tmp_path, optional=False))
    with pytest.raises(ServiceError, match="flower died 5 times in a minute: no port"):
        check_often(supervisor)


def test_optional_service_that_keeps_dying_is_dropped(
    supervisor: Supervisor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.start(dying(tmp_path, optional=True))
    with caplog.at_level(logging.WARNING):
        check_often(supervisor)
    assert "no port" in caplog.messages[-1]
    assert "going on without it" in caplog.messages[-1]
    assert len(caplog.messages) == MAX_DEATHS
    assert (tmp_path / "flower.log").read_text().count("no port") == MAX_DEATHS
