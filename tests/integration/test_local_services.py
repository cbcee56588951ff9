"""Services of a local run: they stop side by side, and a worker may be started before it is needed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.asynchronous import Hub

from producer.local import child_process
from producer.local.child_process import WORKER, start_early_worker, stop_early_worker, use_early_worker
from producer.local.services import redis_service
from producer.local.supervisor import Service, Supervisor
from tests.support.pipeline import wait_until
from worker.wake_up import WakeUp, wake

# Says when it is told to end, and ends a little later.
ENDING = """
import signal, sys, time
def end(*_):
    began = time.monotonic()
    time.sleep(0.5)
    print(began, time.monotonic(), flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    opened = Supervisor(tmp_path)
    yield opened
    opened.stop()
    stop_early_worker()


def ending(folder: Path, name: str, serves: bool = False) -> Service:
    log = folder / f"{name}.log"
    command = [sys.executable, "-c", ENDING]
    return Service(name, command, log, lambda: "ready" in log.read_text(), serves=serves)


def span(service: Service) -> tuple[float, float]:
    began, ended = service.log.read_text().splitlines()[-1].split()
    return float(began), float(ended)


def test_services_stop_side_by_side_and_what_they_use_after_them(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    used, first, second = ending(tmp_path, "used", serves=True), ending(tmp_path, "a"), ending(tmp_path, "b")
    supervisor.start(used, first, second)
    supervisor.stop()
    ends = [span(first)[1], span(second)[1]]
    assert max(span(first)[0], span(second)[0]) < min(ends)
    assert span(used)[0] > max(ends)


def test_a_service_with_a_delay_is_started_by_a_later_check(supervisor: Supervisor, tmp_path: Path) -> None:
    late = ending(tmp_path, "late")
    late.delay = 0.05
    supervisor.start(late)
    assert late.process is None
    time.sleep(0.05)
    supervisor.check()
    assert late.process is not None
    wait_until(late.ready, "the service is ready")


def test_redis_keeps_its_data_in_a_folder_of_any_name(supervisor: Supervisor, tmp_path: Path) -> None:
    local = tmp_path / 'my "own" data'
    local.mkdir()
    service, _ = redis_service(local, tmp_path)
    supervisor.start(service)
    assert (local / "redis" / "appendonlydir").is_dir()


def test_early_worker_becomes_the_worker_that_it_is_told(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    start_early_worker()
    assert use_early_worker(["another", "command"], tmp_path, {}, log) is None
    process = use_early_worker([*WORKER, "--help"], tmp_path, {"STARMILL_HOME": str(tmp_path)}, log)
    assert process is not None
    assert process.wait(60) == 0
    assert "--queues" in log.read_text()
    assert use_early_worker([*WORKER, "--help"], tmp_path, {}, log) is None


def test_early_worker_that_nobody_needs_ends() -> None:
    start_early_worker()
    [process] = child_process._early
    stop_early_worker()
    assert process.poll() is not None
    assert not child_process._early


def test_loop_of_a_worker_wakes_when_it_is_to_stop() -> None:
    hub = Hub()
    WakeUp(None).register_with_event_loop(None, hub)
    assert not hub.poller.poll(0)
    wake()
    [(descriptor, _)] = hub.poller.poll(30)
    callback, arguments = hub.readers[descriptor]
    callback(*arguments)
    assert not hub.poller.poll(0)
    hub.close()
