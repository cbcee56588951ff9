"""How a folder says that its encoder is to be used: files of sentence-transformers, or `starmill.json`."""

from __future__ import annotations

import json
import string
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from models.encoders.base import TEMPLATE, TEMPLATE_FIELDS
from models.errors import ServiceError

FILE = "starmill.json"
MAX_TOKENS = 256
Pooling = Literal["mean", "cls"]


@dataclass(frozen=True, slots=True)
class Options:
    """`normalize` brings vectors to unit length, `max_tokens` cuts every text, `template` words a passage."""

    pooling: Pooling = "mean"
    normalize: bool = True
    max_tokens: int = MAX_TOKENS
    template: str = TEMPLATE


def read_options(folder: Path, positions: int, template: str = TEMPLATE) -> Options:
    """The options of the encoder in `folder`, whose model knows `positions` places of a text.

    `template` is that of its kind. Keys of `starmill.json` that name an option win over this and over what
    sentence-transformers declares; other keys are notes. Raises ServiceError for what is not supported.
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
    """As sentence-transformers declares it, mean where nothing is declared."""
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
