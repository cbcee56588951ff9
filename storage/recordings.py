"""Files of recorded answers."""

from __future__ import annotations

import hashlib
from pathlib import Path

from models.errors import DatasetError
from models.recording import Recording
from storage.jsonl import read_objects


def read_recording(path: Path, sha256: str = "") -> Recording:
    """The file, plain or gzipped; `sha256` is what it has to be, hexadecimal, empty where that is not known.

    Raises DatasetError with file, line and reason.
    """
    found = _sha256(path)
    if sha256 not in ("", found):
        raise DatasetError(path, None, f"is not the recording whose recording_sha256 is {sha256}; "
                           "put that file back, or start the experiment again with this one")  # fmt: skip
    return Recording(path, found, read_objects(path))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise DatasetError(path, None, "no such file") from None
    except OSError as error:
        raise DatasetError(path, None, f"cannot be read: {error.strerror or error}") from None
