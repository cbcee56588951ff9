"""A model server for tests that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.openai_server import OpenAIServer, running


@pytest.fixture(scope="session")
def _openai_process() -> Iterator[OpenAIServer]:
    with running() as server:
        yield server


@pytest.fixture
def openai_server(_openai_process: OpenAIServer) -> OpenAIServer:
    """The test server, well behaved and with nothing counted."""
    _openai_process.configure()
    _openai_process.forget()
    return _openai_process
