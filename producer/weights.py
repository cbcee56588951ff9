"""Add the published difference of a model to its base, tensor by tensor, such as Alpaca-7B's to LLaMA-7B."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from models.core.errors import UsageError
from producer.files import replacing_folder

if TYPE_CHECKING:
    from torch import Tensor


KINDS = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"


class WeightsFolder:
    """The tensors of a folder of transformers: safetensors or .bin, in one file or in shards.

    One file is open at a time, mapped into memory, so that only used tensors are read. Raises UsageError.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise UsageError(f"{folder}: is not a folder; give one as transformers saves it")
        self.config: Mapping[str, Any] = self._json("config.json")
        file = next((name for name in KINDS if (folder / name).is_file()), None)
        index = next((name + INDEX for name in KINDS if (folder / (name + INDEX)).is_file()), None)
        if index and not file:
            files = sorted(set(self._json(index).get("weight_map", {}).values()))
        else:
            files = [file] if file else []
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
        """The names of all tensors, in the order of the files."""
        return list(self._file_of)

    def shape(self, name: str) -> tuple[int, ...]:
        file = self._opened(self._file_of[name])
        return tuple(file[name].shape if isinstance(file, dict) else file.get_slice(name).get_shape())

    def tensor(self, name: str) -> Tensor:
        file = self._opened(self._file_of[name])
        tensor: Tensor = file[name] if isinstance(file, dict) else file.get_tensor(name)
        return tensor

    def _names(self, file: str) -> list[str]:
        return list(self._opened(file).keys())

    def _opened(self, file: str) -> Any:
        if self._open[0] != file:
            self._open = (file, _open(self.folder / file))
        return self._open[1]

    def _json(self, name: str) -> Any:
        path = self.folder / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: cannot be read: {error}") from None
        if not isinstance(content, dict):
            raise UsageError(f"{path}: must be a JSON object")
        return content


def _open(path: Path) -> Any:
    import torch
    from safetensors import safe_open

    try:
        if path.suffix == ".safetensors":
            return safe_open(path, "pt")
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:
        # The formats raise unrelated errors for a truncated file.
        reason = " ".join(str(error).split())[:160]
        raise UsageError(f"{path}: cannot be read as weights ({reason}); fetch it anew") from error


Dtype = Literal["float32", "float16", "bfloat16"]
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
SHARD_BYTES = 2 * 2**30
# Computed from the configuration, no weight of the model; old versions of transformers saved it.
COMPUTED = "rotary_emb.inv_freq"
# Published checksums were computed in single precision.
SUM_TOLERANCE = 1e-5
COPIED_SUFFIXES = {".json", ".model", ".txt", ".jinja"}


def apply_delta(
    base: Path,
    delta: Path,
    output: Path,
    dtype: Dtype = "float32",
    checksum: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    shard_bytes: int = SHARD_BYTES,
) -> int:
    """Write the sum of two folders' weights by Stanford's recipe, and return the number of tensors.

    Tensors are added in single precision, one by one, and saved as `dtype`; a few GB are in memory at a time.
    If the difference has more tokens than the base, the base's rows for them are the mean of its rows.
    Configuration and tokenizer are those of the difference. `checksum` is the sum of all numbers of the
    result. The folder appears when it is complete. Raises UsageError.
    """
    import torch
    from safetensors.torch import save_file

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"-o {output}: is there already; name a new folder")
    old, change = WeightsFolder(base), WeightsFolder(delta)
    names = [name for name in change.names if not name.endswith(COMPUTED) or name in old]
    _require_same_names(old, change)
    shards = list(_shards(change, names, BYTES[dtype], shard_bytes))
    _require_room(output, sum(math.prod(change.shape(name)) for name in names) * BYTES[dtype])
    total, done, weight_map = 0.0, 0, dict[str, str]()
    with replacing_folder(output) as draft:
        for number, shard in enumerate(shards, 1):
            file = "model.safetensors"
            if len(shards) > 1:
                file = f"model-{number:05}-of-{len(shards):05}.safetensors"
            tensors: dict[str, Tensor] = {}
            for name in shard:
                summed = _sum(name, old, change)
                total += float(summed.sum(dtype=torch.float64))
                tensors[name] = summed.to(getattr(torch, dtype)).contiguous()
                done += 1
                progress(done, len(names))
            save_file(tensors, draft / file, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(shard, file)
        _require_sum(total, checksum)
        if len(shards) > 1:
            index = {
                "metadata": {"total_size": sum(f.stat().st_size for f in draft.iterdir())},
                "weight_map": weight_map,
            }
            (draft / f"model.safetensors{INDEX}").write_text(json.dumps(index, indent=2) + "\n")
        _write_rest(change, draft, dtype)
    return len(names)


def _sum(name: str, old: WeightsFolder, change: WeightsFolder) -> Tensor:
    import torch

    difference, before = change.tensor(name).float(), old.tensor(name).float()
    if difference.shape == before.shape:
        return before + difference
    rows, known = difference.shape[0], before.shape[0]
    is_vocabulary = before.dim() == 2 and known == old.config.get("vocab_size")
    if not is_vocabulary or rows < known or difference.shape[1:] != before.shape[1:]:
        raise UsageError(
            f"{change.folder}: {name} is {_as_text(difference)}, in {old.folder} {_as_text(before)}; "
            "give the model that the difference was made from"
        )
    added = before.mean(dim=0, keepdim=True).expand(rows - known, -1)
    return torch.cat([before, added]) + difference


def _require_same_names(old: WeightsFolder, change: WeightsFolder) -> None:
    for has, lacks in ((change, old), (old, change)):
        absent = [name for name in has.names if name not in lacks and not name.endswith(COMPUTED)]
        if absent:
            raise UsageError(
                f"{lacks.folder}: lacks {len(absent)} tensors of {has.folder}, such as {absent[0]}; "
                "give the model that the difference was made from, both as transformers saves them"
            )


def _shards(change: WeightsFolder, names: Iterable[str], width: int, max_bytes: int) -> Iterable[list[str]]:
    shard, shard_size = list[str](), 0
    for name in names:
        size = math.prod(change.shape(name)) * width
        if shard and shard_size + size > max_bytes:
            yield shard
            shard, shard_size = [], 0
        shard.append(name)
        shard_size += size
    yield shard


def _require_room(output: Path, needed: int) -> None:
    parent = output.absolute().parent
    if parent.is_dir() and (free := shutil.disk_usage(parent).free) < needed:
        raise UsageError(
            f"-o {output}: needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} are free; "
            "make room, or take --dtype float16"
        )


def _require_sum(total: float, checksum: float | None) -> None:
    if checksum is not None and not math.isclose(total, checksum, rel_tol=SUM_TOLERANCE):
        raise UsageError(
            f"--checksum {checksum}: the numbers of the result add up to {total:.4f}; "
            "a file is damaged, or the base is another one; nothing was written"
        )


def _write_rest(change: WeightsFolder, draft: Path, dtype: Dtype) -> None:
    for path in change.folder.iterdir():
        if path.is_file() and path.suffix in COPIED_SUFFIXES and not path.name.endswith(INDEX):
            shutil.copyfile(path, draft / path.name)
    config: dict[str, Any] = {**change.config, "torch_dtype": dtype}
    if "dtype" in config:
        config["dtype"] = dtype
    (draft / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _as_text(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))
