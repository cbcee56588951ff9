"""Turn rows of any origin into JSON that every database stores, and save rows of a program as a file."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from models.adapters.private_files import private_folder
from models.core.errors import UsageError

# pandas' marks of a missing value.
MISSING = {"NAType", "NaTType"}


def storable(text: str) -> str:
    """Remove null characters and lone surrogates, which no database stores."""
    if text.isascii():
        return text.replace("\0", "")
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def json_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the row with JSON values. Raise ValueError, which names the column of a value that is none,
    or of two values."""
    columns: dict[str, Any] = {}
    for key, value in row.items():
        name = storable(str(key))
        if name in columns:
            raise ValueError(f"two columns are named {name!r}; rename one of them")
        try:
            columns[name] = json_value(value)
        except ValueError as error:
            raise ValueError(f"column {name!r} holds {error}") from None
        except RecursionError:
            raise ValueError(f"column {name!r} is nested too deeply") from None
    return columns


def json_value(value: Any) -> Any:
    """Return a JSON value: dates as ISO text, NaN as null, decimals as written. Raise ValueError."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float):
        if math.isinf(value):
            raise ValueError("an infinite number, which JSON cannot; write it as text or leave it out")
        return None if math.isnan(value) else float(value)
    if isinstance(value, Mapping):
        return {storable(str(name)): json_value(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(each) for each in value]
    return _other_value(value)


def _other_value(value: Any) -> Any:
    kind = type(value).__name__
    if kind in MISSING:
        return None
    if isinstance(value, Decimal):
        return str(value)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if hasattr(value, "total_seconds"):
        return str(value)
    if not isinstance(value, bytes | bytearray | memoryview) and hasattr(value, "tolist"):
        return json_value(value.tolist())  # of numpy
    what = "bytes" if isinstance(value, bytes | bytearray | memoryview) else f"a value of type {kind}"
    raise ValueError(f"{what}, which JSON cannot; leave the column out, or write it as text")


def save_rows(rows: Any, folder: Path) -> Path:
    """Write rows as JSON lines into `folder`, and return the file, whose name is the hash of its content.

    `rows` are dicts, a pandas frame, or a `Dataset` of `datasets`. Equal rows make the same file. Raise
    UsageError.
    """
    private_folder(folder)
    with tempfile.TemporaryDirectory(prefix="rows-", dir=folder) as unfinished:
        file = Path(unfinished) / "rows.jsonl"
        path = folder / f"{_write_lines(rows, file)}.jsonl"
        file.replace(path)
    return path


def _write_lines(rows: Any, path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for number, row in enumerate(_mappings(rows), 1):
            line = json.dumps(_json_row(number, row), ensure_ascii=False).encode() + b"\n"
            digest.update(line)
            file.write(line)
        if not file.tell():
            raise UsageError("rows: there are none")
    return digest.hexdigest()


def _json_row(number: int, row: Any) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise UsageError(f"rows: row {number} must be a dict, found {type(row).__name__}")
    try:
        return json_row(row)
    except ValueError as error:
        raise UsageError(f"rows: row {number}: {error}") from None


def _mappings(rows: Any) -> Iterator[Any]:
    if isinstance(rows, Mapping):
        kind = type(rows).__name__
        hint = f"such as rows[{next(iter(rows), 'train')!r}]" if kind.endswith("DatasetDict") else "as [row]"
        raise UsageError(
            f"rows: must be a list of dicts, a frame or a dataset, found {kind}; pass one, {hint}"
        )
    if hasattr(rows, "to_dict") and hasattr(rows, "itertuples"):
        names = [str(name) for name in rows.columns]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(f"rows: two columns of the frame are named {twice[0]!r}; rename one of them")
        return (dict(zip(names, values, strict=True)) for values in rows.itertuples(index=False, name=None))
    if isinstance(rows, Iterable) and not isinstance(rows, str | bytes):
        return iter(rows)
    raise UsageError(f"rows: must be a list of dicts, a frame or a dataset, found {type(rows).__name__}")
