"""Find the files that an experiment names: paths made absolute, prompts and seeds read.

Workers on other machines have no such files, so the texts become part of the experiment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from models.adapters.encoders.checkpoint import PACKAGED
from models.core.errors import DatasetError, ExperimentError, UsageError
from models.core.kinds import KINDS
from storage.jsonl import read_json, read_objects

BUNDLED = "bundled:"
HUB = "hf:"
PATHS = (
    ("data", "path"),
    ("dataset", "path"),
    ("passages", "path"),
    ("passages", "encoder"),
    ("augment", "seeds"),
    ("rationale", "seeds"),
    ("models.*", "recording"),
    ("teacher", "recording"),
    ("students.*", "recording"),
    ("students.*.recording", "folder"),
    ("models.*.recording", "folder"),
    ("judge.model", "recording"),
)
# Keys of steps that may name a file.
FILES = {key: content for kind in KINDS.values() for key, content in kind.files.items()}
TEXT_FILE = re.compile(r"[^\s{}]+\.(txt|md|j2|py)")
MAX_BYTES = 1_000_000


def resolve_paths(config: dict[str, Any], folder: Path, shipped: Path) -> None:
    """Make the paths in a configuration absolute. They are relative to `folder`, `bundled:` ones to
    `shipped`. Raise UsageError."""
    if isinstance(config.get("data"), str):
        config["data"] = {"path": config["data"]}
    for section, key in PATHS:
        for block in _blocks(config, section.split(".")):
            if key == "folder":
                block.setdefault(key, ".")
            if isinstance(value := block.get(key), str) and value and not value.startswith(HUB):
                if key == "encoder" and value == PACKAGED:
                    continue
                is_shipped = value.startswith(BUNDLED)
                root, path = (shipped, value.removeprefix(BUNDLED)) if is_shipped else (folder, value)
                block[key] = str(_absolute(f"{section}.{key}", root, path))


def inline_seeds(config: dict[str, Any]) -> None:
    """Replace the name of each seed file by its rows. Raise DatasetError."""
    for section in ("augment", "rationale"):
        for block in _blocks(config, [section]):
            if isinstance(block.get("seeds"), str):
                block["seeds"] = _rows(Path(block["seeds"]), "seeds")


def inline_steps(name: str, config: dict[str, Any], folders: Sequence[Path]) -> None:
    """Replace the names of files in steps by their content; the first of `folders` that has a file counts.

    Raise ExperimentError, DatasetError.
    """
    steps = config.get("steps")
    for step_name, step in steps.items() if isinstance(steps, dict) else []:
        if not isinstance(step, dict):
            continue
        where = f"steps.{step_name}"
        for key, content in FILES.items():
            if not isinstance(text := step.get(key), str):
                continue
            if content == "text":
                step[key] = read_prompt(name, f"{where}.{key}", text, folders)
            else:
                path = _locate(name, f"{where}.{key}", text, folders)
                step[key] = read_json(path) if content == "json" else _rows(path, key)


def read_prompt(name: str, key: str, text: str, folders: Sequence[Path]) -> str:
    """Return the text, or the content of the file that it names. Raise ExperimentError."""
    return _read(name, key, _locate(name, key, text, folders)) if TEXT_FILE.fullmatch(text) else text


def _blocks(config: Any, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the mappings at a path of keys; `*` stands for each entry of a mapping or list."""
    if not keys:
        if isinstance(config, dict):
            yield config
        return
    first, *rest = keys
    if first == "*":
        inner = config.values() if isinstance(config, dict) else config if isinstance(config, list) else []
    else:
        inner = [config[first]] if isinstance(config, dict) and first in config else []
    for each in inner:
        yield from _blocks(each, rest)


def _absolute(key: str, folder: Path, path: str) -> Path:
    """Return the path seen from the folder. Raise UsageError for a text that names no file anywhere."""
    try:
        absolute = (folder / Path(path).expanduser()).resolve()
        absolute.exists()
    except (OSError, ValueError, RuntimeError) as error:
        problem = f"{path!r:.60} cannot be the path of a file: {str(error)[:80]}"
        raise UsageError(f"{key}: {problem}") from None
    return absolute


def _locate(name: str, key: str, file: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        path = _absolute(key, folder, file)
        if path.is_file():
            return path
    searched = " or ".join(str(folder.resolve()) for folder in folders)
    raise ExperimentError(
        name, key, f"there is no file {file} in {searched}; mend the name, or write it here"
    )


def _read(name: str, key: str, path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            problem = f"{path} is larger than {MAX_BYTES:,} bytes; is it the right file?"
            raise ExperimentError(name, key, problem)
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(name, key, f"{path} cannot be read: {error}") from None


def _rows(path: Path, things: str) -> list[dict[str, Any]]:
    rows = [row for _, row in read_objects(path)]
    if not rows:
        raise DatasetError(path, None, f"holds no {things}")
    return rows
