"""The provider is part of a request's identity, and of nothing else."""

from __future__ import annotations

import pytest

from models.adapters.backends import provider
from models.core.experiment.endpoints import Model


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        (None, "openai"),
        ("https://api.openai.com/v1", "openai"),
        ("https://api.openai.com/v1/", "openai"),
        ("http://localhost:8000/v1", "localhost:8000/v1"),
        ("http://LocalHost:8000/v1/", "localhost:8000/v1"),
        ("http://[::1]:8000/v1", "[::1]:8000/v1"),
    ],
)
def test_a_provider_is_named_after_its_address(base_url: str | None, expected: str) -> None:
    assert provider(Model(backend="openai", model="m", base_url=base_url)) == expected


def test_the_embedded_model_is_the_same_on_every_port() -> None:
    assert provider(Model(backend="embedded")) == "embedded"
