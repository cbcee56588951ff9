"""The tensors of a folder as transformers saves it: safetensors or .bin, in one file or in shards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"


class Weights:
    """One file is open at a time, mapped into memory: only what is used is read. Raises UsageError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise UsageError(f"{folder}: is not a folder; give one as transformers saves it")
        self.config: Mapping[str, Any] = self._json("config.json")
        found = next((name for name in KINDS if (folder / name).is_file()), None)
        index = next((name + INDEX for name in KINDS if (folder / (name + INDEX)).is_file()), None)
        if index and not found:
            files = sorted(set(self._json(index).get("weight_map", {}).values()))
        else:
            files = [found] if found else []
        if not files:
            raise UsageError(
                f"{folder}: holds no weights; it needs {' or '.join(KINDS)}, or shards and their index"
            )
        if absent := [name for name in files if not (folder / name).is_file()]:
            raise UsageError(f"{folder}: lacks {', '.join(absent)}, which its index names; fetch it anew")
        self._open: tuple[str, Any] = ("", None)
        self._file_of = {name: file for file in files for name in self._names(file)}

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    @property
    def names(self) -> list[str]:
        """In the order of the files."""
        return list(self._file_of)

    def shape(self, name: str) -> tuple[int, ...]:
        held = self._opened(self._file_of[name])
        return tuple(held[name].shape if isinstance(held, dict) else held.get_slice(name).get_shape())

    def tensor(self, name: str) -> Tensor:
        held = self._opened(self._file_of[name])
        found: Tensor = held[name] if isinstance(held, dict) else held.get_tensor(name)
        return found

    def _names(self, file: str) -> list[str]:
        return list(self._opened(file).keys())

    def _opened(self, file: str) -> Any:
        if self._open[0] != file:
            self._open = (file, _open(self.folder / file))
        return self._open[1]

    def _json(self, name: str) -> Any:
        path = self.folder / name
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: cannot be read: {error}") from None
        if not isinstance(found, dict):
            raise UsageError(f"{path}: must be a JSON object")
        return found


def _open(path: Path) -> Any:
    import torch
    from safetensors import safe_open

    try:
        if path.suffix == ".safetensors":
            return safe_open(path, "pt")
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:
        # Formats raise errors of their own for a file that was cut off; some of them are no subclass of any.
        said = " ".join(str(error).split())[:160]
        raise UsageError(f"{path}: cannot be read as weights ({said}); fetch it anew") from error
