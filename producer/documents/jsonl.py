"""Passages from a JSONL file, plain or compressed."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from models.errors import DatasetError
from models.types import Passage


def jsonl(path: Path) -> Iterator[Passage]:
    """One passage per line of `{"id", "name", "signature", "text"}`; other keys are ignored.

    `id` and `text` are required; a missing `name` is the id. The library is what stands before the first dot
    of the id. A name that ends in `.gz` is read as gzip. Raises DatasetError with path, line and reason.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _passage(path, number, line)
    except FileNotFoundError:
        raise DatasetError(path, None, "no such file; check passages.path") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(path, number + 1, f"cannot be read: {error}") from None


def _passage(path: Path, number: int, line: bytes) -> Passage:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise DatasetError(path, number, "not UTF-8") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(path, number, f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise DatasetError(path, number, f"needs an object, found {type(row).__name__}")
    for key in ("id", "text"):
        if key not in row:
            raise DatasetError(path, number, f"{key} is missing")
    fields = {"name": row["id"], "signature": ""} | row
    for key in ("id", "name", "signature", "text"):
        if not isinstance(fields[key], str):
            raise DatasetError(path, number, f"{key} needs a string, found {type(fields[key]).__name__}")
    if not fields["id"].replace("\0", "").strip():
        raise DatasetError(path, number, "id is empty")
    library = fields["id"].partition(".")[0]
    return Passage(fields["id"], fields["name"], fields["signature"], fields["text"], library)
