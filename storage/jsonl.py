"""Read JSON files, JSON lines and recordings, plain or gzipped. Errors name the file and the line."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.core.errors import DatasetError
from models.core.experiment.cell_files import CellFiles
from models.core.experiment.endpoints import Model
from models.core.recording import CellRecordings, Recorded, Recording


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of every line that is not blank. Raise DatasetError."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, parse_object(path, number, line)
    except FileNotFoundError:
        raise DatasetError(path, None, "no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(path, number + 1, f"not a whole gzip file: {error}") from None
    except OSError as error:
        raise DatasetError(path, None, f"cannot be read: {error.strerror or error}") from None


def read_json(path: Path) -> Any:
    """Return the value of a JSON file. Raise DatasetError."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DatasetError(path, None, "no such file") from None
    except OSError as error:
        raise DatasetError(path, None, f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DatasetError(path, None, "is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise DatasetError(path, error.lineno, f"is not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(path, None, f"is not JSON that can be read: {error}") from None


def parse_object(path: Path, number: int, line: str | bytes) -> dict[str, Any]:
    try:
        text = line.rstrip(b"\r\n") if isinstance(line, bytes) else line.rstrip("\r\n")
        value = json.loads(text)
    except UnicodeDecodeError:
        raise DatasetError(path, number, "is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise DatasetError(path, number, f"is not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(path, number, f"is not JSON that can be read: {error}") from None
    if not isinstance(value, dict):
        raise DatasetError(path, number, f"must be a JSON object, found {type(value).__name__}")
    return value


def read_recorded(endpoint: Model) -> Recorded:
    """Open what a model of backend `replay` answers from. Raise DatasetError like `read_recording`."""
    files, sha256 = endpoint.recording, endpoint.recording_sha256
    if not isinstance(files, CellFiles):
        return read_recording(Path(files or ""), sha256)
    of_path = {path: read_recording(Path(path)) for path in dict.fromkeys(files.paths.values())}
    recordings = {f"{endpoint.name}/{cell}": of_path[path] for cell, path in files.paths.items()}
    recorded = CellRecordings(files.folder, recordings)
    if sha256 not in ("", recorded.digest):
        raise _other_recording(Path(files.folder), sha256)
    return recorded


def read_recording(path: Path, sha256: str = "") -> Recording:
    """Open a recording, plain or gzipped; its hexadecimal `sha256` is checked unless it is empty.

    Raise DatasetError with file, line and reason.
    """
    actual = _sha256(path)
    if sha256 not in ("", actual):
        raise _other_recording(path, sha256)
    return Recording(path, actual, read_objects(path))


def _other_recording(path: Path, sha256: str) -> DatasetError:
    problem = f"is not the recording whose recording_sha256 is {sha256}"
    remedy = "put that file back, or start the experiment again with this one"
    return DatasetError(path, None, f"{problem}; {remedy}")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise DatasetError(path, None, "no such file") from None
    except OSError as error:
        raise DatasetError(path, None, f"cannot be read: {error.strerror or error}") from None
