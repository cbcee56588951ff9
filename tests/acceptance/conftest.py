"""One model server, and one finished run with everything in it: skipped units, failed ones, costs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import read_jsonl, write_data, write_experiment, write_jsonl
from tests.support.pipeline import Ended, Home, run_locally

# Words. The prompts of all rows are shorter, but for one that asks too much.
LONGEST_PROMPT = 1500
PRICE = {"input": 0.5, "output": 1.5}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows to teach and six to ask; the last of them does not fit into the model's context."""
    folder = write_data(tmp_path_factory.mktemp("acceptance") / "data", train=12, test=6)
    rows = read_jsonl(folder / "test.jsonl")
    rows[-1]["request"] += " and then" * LONGEST_PROMPT
    write_jsonl(folder / "test.jsonl", rows)
    return folder


@pytest.fixture(scope="session")
def model_server(data: Path) -> Iterator[OpenAIServer]:
    with running("--references", str(data / "references.jsonl")) as server:
        yield server


@pytest.fixture
def server(model_server: OpenAIServer) -> OpenAIServer:
    """Well behaved, and nothing counted."""
    model_server.configure()
    model_server.forget()
    return model_server


@pytest.fixture(scope="session")
def finished(data: Path, model_server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    model_server.configure(max_context=LONGEST_PROMPT)
    home = Home(tmp_path_factory.mktemp("finished") / "home")
    endpoint = {"base_url": model_server.url, "price": PRICE}
    experiment = write_experiment(
        data,
        model_server.url,
        teacher={"backend": "openai", "model": "large", **endpoint},
        students=[{"name": "small", "backend": "server", "model": "small", **endpoint}],
    )
    return run_locally(home, experiment, expect=1)


@pytest.fixture
def again(finished: Ended, tmp_path: Path) -> Ended:
    """The finished run in a home that a test may change."""
    shutil.copytree(finished.home.path, tmp_path / "home")
    return Ended(Home(tmp_path / "home"), finished.experiment, finished.run, finished.completed)
