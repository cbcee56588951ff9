"""Documentation in folders: where it lies below a path, what its library is called, how a page is read."""

from __future__ import annotations

from pathlib import Path

from models.errors import DatasetError

# Projects that are imported under another name.
IMPORT_NAMES = {"pytorch": "torch", "scikit_image": "skimage", "scikit_learn": "sklearn"}


def holders(path: Path, marker: str) -> list[Path]:
    """The subfolders that hold the file `marker`, sorted by name; `path` itself where it or none does.

    Hidden folders are left out. Raises DatasetError.
    """
    if not path.is_dir():
        problem = "is a file; give its folder" if path.exists() else "no such folder; check passages.path"
        raise DatasetError(path, None, problem)
    if (path / marker).is_file():
        return [path]
    return [folder for folder in subfolders(path) if (folder / marker).is_file()] or [path]


def subfolders(path: Path) -> list[Path]:
    try:
        return [folder for folder in sorted(path.iterdir()) if folder.is_dir() and folder.name[:1] != "."]
    except OSError as error:
        raise DatasetError(path, None, f"cannot be read: {error.strerror or error}") from None


def read_page(folder: Path, path: str) -> bytes | None:
    """A file below `folder`; None where there is none, or where `path` leads out of it."""
    file = (folder / path).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        return None
    try:
        return file.read_bytes()
    except OSError as error:
        raise DatasetError(file, None, f"cannot be read: {error.strerror or error}") from None
