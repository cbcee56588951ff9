"""Encoders are recognised by what decides their vectors, and refused by what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.encoders import find_checkpoint, passage_text
from models.errors import ServiceError
from models.types import Passage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8, "max_position_embeddings": 64}))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


def declare_pooling(folder: Path, mode: str) -> None:
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{mode}": True}))


def test_checkpoint_describes_the_folder(folder: Path) -> None:
    found = find_checkpoint(str(folder))
    assert (found.dimension, found.pooling, found.max_tokens) == (8, "mean", 64)
    declare_pooling(folder, "cls_token")
    assert find_checkpoint(str(folder)).pooling == "cls"


def test_fingerprint_follows_what_decides_a_vector(folder: Path) -> None:
    seen = [find_checkpoint(str(folder)).fingerprint]
    (folder / "README.md").write_text("words")
    assert find_checkpoint(str(folder)).fingerprint == seen[0]
    (folder / "model.safetensors").write_bytes(b"other weights")
    seen.append(find_checkpoint(str(folder)).fingerprint)
    declare_pooling(folder, "cls_token")
    seen.append(find_checkpoint(str(folder)).fingerprint)
    (folder / "tokenizer.json").write_text('{"a": 1}')
    seen.append(find_checkpoint(str(folder)).fingerprint)
    assert len(set(seen)) == 4


def test_unusable_encoders_are_refused_in_one_line(folder: Path) -> None:
    with pytest.raises(ServiceError, match=r"nowhere is neither minilm nor a folder"):
        find_checkpoint("nowhere")
    declare_pooling(folder, "max_tokens")
    with pytest.raises(ServiceError, match=r"pools by \['pooling_mode_max_tokens'\]"):
        find_checkpoint(str(folder))
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(ServiceError, match=r"has a step Dense"):
        find_checkpoint(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ServiceError, match=r"needs config\.json"):
        find_checkpoint(str(folder))


def test_passage_text_falls_back_to_the_signature() -> None:
    assert (
        passage_text(Passage("i", "os.getcwd", "getcwd()", "Where.", "python")) == "python os.getcwd: Where."
    )
    assert passage_text(Passage("i", "f", "f(a)", "", "")) == "f: f(a)"
