"""One model server, one experiment, and its run that nobody disturbed. All here is marathon or scale."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import write_data, write_experiment
from tests.support.pipeline import Ended, Home, home_with_indexes_of, run_locally


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and not item.get_closest_marker("scale"):
            item.add_marker(pytest.mark.marathon)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("chaos") / "data", train=32, test=12)


@pytest.fixture(scope="session")
def model_server(data: Path) -> Iterator[OpenAIServer]:
    with running("--references", str(data / "references.jsonl")) as server:
        yield server


@pytest.fixture(scope="session")
def undisturbed(data: Path, model_server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    model_server.configure()
    experiment = write_experiment(data, model_server.url)
    return run_locally(Home(tmp_path_factory.mktemp("undisturbed") / "home"), experiment)


@pytest.fixture
def home(undisturbed: Ended, tmp_path: Path) -> Home:
    """Without runs; a dead worker's units are free after four seconds."""
    return home_with_indexes_of(
        undisturbed.home, tmp_path / "home", STARMILL_LEASE_SECONDS="4", STARMILL_QUEUE_WINDOW="64"
    )


@pytest.fixture
def server(undisturbed: Ended, model_server: OpenAIServer) -> OpenAIServer:
    """Slow enough that something is in flight whenever the test strikes; nothing counted."""
    model_server.configure(latency_ms=200)
    model_server.forget()
    return model_server
