"""Encoders are recognised by what decides their vectors, and refused by what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from models.adapters.encoders.checkpoint import Options, find_checkpoint
from models.adapters.encoders.encoder import WORDS_TEMPLATE, passage_text
from models.core.errors import ServiceError
from models.core.types import Passage


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
    checkpoint = find_checkpoint(str(folder))
    assert (checkpoint.kind, checkpoint.dimension) == ("transformers", 8)
    assert checkpoint.options == Options(pooling="mean", normalize=True, max_tokens=64)
    declare_pooling(folder, "cls_token")
    assert find_checkpoint(str(folder)).options.pooling == "cls"


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


def test_fingerprint_follows_the_options(folder: Path) -> None:
    seen = {find_checkpoint(str(folder)).fingerprint}
    for options in (
        {"normalize": False},
        {"max_tokens": 32},
        {"template": "{name} {text}"},
        {"pooling": "cls"},
    ):
        (folder / "starmill.json").write_text(json.dumps(options))
        seen.add(find_checkpoint(str(folder)).fingerprint)
    assert len(seen) == 5
    (folder / "starmill.json").write_text(json.dumps({"pooling": "cls", "training": {"seed": 1}}))
    assert find_checkpoint(str(folder)).fingerprint in seen


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"pooling": "max"}, "pooling is 'max'; only mean and cls"),
        ({"normalize": "no"}, "normalize is 'no'; give true or false"),
        ({"max_tokens": 65}, "max_tokens is 65; give a number from 3 to 64"),
        ({"template": "{name}"}, "template is '{name}'; it needs {text}"),
        ({"template": "{text.__class__}"}, "may use {library}, {name}, {words}"),
        ({"template": "{text"}, "may use {library}, {name}, {words}"),
        ([], "must be a JSON object"),
    ],
)
def test_unusable_options_are_refused_in_one_line(folder: Path, options: Any, problem: str) -> None:
    (folder / "starmill.json").write_text(json.dumps(options))
    with pytest.raises(ServiceError, match=re.escape(problem)) as refused:
        find_checkpoint(str(folder))
    assert "\n" not in str(refused.value)


def test_layout_tells_what_runs_an_encoder(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"d_model": 16, "n_positions": 512, "model_type": "t5"}))
    checkpoint = find_checkpoint(str(folder))
    assert (checkpoint.kind, checkpoint.dimension, checkpoint.options.max_tokens) == ("t5", 16, 256)
    assert checkpoint.template == WORDS_TEMPLATE
    (folder / "model.onnx").write_bytes(b"graph")
    assert find_checkpoint(str(folder)).kind == "onnx"
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ServiceError, match=r"needs tokenizer\.json for ONNX Runtime"):
        find_checkpoint(str(folder))


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
    drop = Passage("i", "DataFrame.drop()", "", "Drop labels.", "pandas")
    assert passage_text(drop, WORDS_TEMPLATE) == "pandas DataFrame drop: Drop labels."
