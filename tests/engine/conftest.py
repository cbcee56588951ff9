"""Checkpoints, made once; and the process group that an engine leaves nothing of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.language_models import FOR_VLLM, plain_tokenizer, smollm2, tiny_llama, tiny_mpt


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct."""
    return smollm2(tmp_path_factory.mktemp("models") / "smollm2")


@pytest.fixture(scope="session")
def llama(small_model: Path) -> Path:
    return tiny_llama(small_model.parent / "llama", plain_tokenizer(small_model), FOR_VLLM, seed=7)


@pytest.fixture(scope="session")
def mpt(small_model: Path) -> Path:
    return tiny_mpt(small_model.parent / "mpt", plain_tokenizer(small_model), FOR_VLLM, seed=7)
