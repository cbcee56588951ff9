"""The workers of a local run: one for searches, one for all else on the network, one for each engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from producer.local.services import worker_services
from storage.settings import Settings
from tests.support.small_run import experiment

SERVER = {"backend": "server", "model": "small", "base_url": "http://127.0.0.1:9/v1"}
ENGINE = {"backend": "vllm", "model": "/models/seven"}
SEARCH = {"worker-retrieve": ["retrieve"]}
NETWORK = {**SEARCH, "worker": ["judge", "model.large", "model.small"]}


def option(name: str, **sections: Any) -> dict[str, str]:
    """Return the value of an option of each worker's command."""
    settings = Settings(home=Path("home"), redis_url="redis://localhost", _env_file=None)  # type: ignore[call-arg]
    services = worker_services(experiment(**sections), settings, Path("logs"))
    return {service.name: _after(service.command, name) for service in services}


def _after(command: Sequence[str], name: str) -> str:
    """Return the value of the worker's option; Python has options of its own before them."""
    return command[len(command) - command[::-1].index(name)]


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, NETWORK),
        (
            {"students": [ENGINE | {"name": "seven"}]},
            {**SEARCH, "worker": ["judge", "model.large"], "worker-seven": ["model.models-seven"]},
        ),
        (
            {"teacher": ENGINE},
            {**SEARCH, "worker": ["judge", "model.small"], "worker-teacher": ["model.models-seven"]},
        ),
        # Two roles of one model share a worker.
        (
            {"teacher": ENGINE, "students": [ENGINE | {"name": "seven"}]},
            {**SEARCH, "worker": ["judge"], "worker-teacher": ["model.models-seven"]},
        ),
        # A model that no unit asks needs no worker.
        ({"models": {"critic": ENGINE}}, NETWORK),
        ({"teacher": ENGINE, "grow": {"enabled": True}}, {"worker-teacher": ["model.models-seven"]}),
    ],
)
def test_each_queue_has_one_worker(sections: dict[str, Any], expected: dict[str, list[str]]) -> None:
    if "grow" in sections:
        sections = sections | {"task": None}
    served = option("-Q", **sections)
    assert {name: queues.split(",") for name, queues in served.items()} == expected


def test_threads_keep_an_engine_and_its_copies_full() -> None:
    tasks = {"units_per_task": {"answer": 8}}
    one = {"students": [ENGINE | {"engine": {"max_num_seqs": 64}}]}
    two = {"students": [ENGINE | {"engine": {"max_num_seqs": 64, "data_parallel_size": 2}}]}
    assert option("-c", **tasks, **one)["worker-student"] == str(2 * 64 // 8 + 2)
    assert option("-c", **tasks, **two)["worker-student"] == str(2 * 128 // 8 + 2)
