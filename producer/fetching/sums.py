"""SHA-256 sums of a folder's files, as `sha256sum --check` reads them."""

from __future__ import annotations

import hashlib
from pathlib import Path

FILE_NAME = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Of all files that lie in `folder` itself."""
    names = sorted(file.name for file in folder.iterdir() if file.is_file() and file.name != FILE_NAME)
    lines = [f"{_sum(folder / name)}  {name}\n" for name in names]
    (folder / FILE_NAME).write_text("".join(lines), encoding="utf-8")


def changed_files(folder: Path) -> list[str] | None:
    """Names of files that are no longer what they were, or are gone; None where there are no sums."""
    try:
        lines = (folder / FILE_NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    pairs = [line.partition("  ") for line in lines if line.strip()]
    return [name for digest, _, name in pairs if _sum(folder / name) != digest]


def _sum(path: Path) -> str:
    """Hexadecimal; empty where there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
