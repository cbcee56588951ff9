"""Write files and folders that get their name only when they are complete; keep out other processes."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.core.errors import ServiceError, UsageError

# A temporary name is longer than its file's, which may be as long as a name can be: it has the beginning.
NAME_SHOWN = 40


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` that takes its name at the end. Raises UsageError."""
    require_writable_file(path)
    with _beside(path) as temporary:
        yield temporary
        temporary.replace(os.path.realpath(path))


def require_writable_file(path: Path) -> None:
    """Raise UsageError, before the work, if no file could take this name after it."""
    if str(path) == "-":
        raise UsageError("-o -: writes a file, not standard output; name one, such as ./-")
    _require_place(path)
    if path.exists() and not path.is_file():
        raise UsageError(f"-o {path}: is not a file; give the name of one")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that takes its name at the end.

    If `path` is a folder already, the new files replace those of the same name, and others stay.
    Raises UsageError.
    """
    _require_place(path)
    if path.exists() and not path.is_dir():
        raise UsageError(f"-o {path}: is a file; this export writes a folder")
    with _beside(path) as temporary:
        temporary.mkdir()
        yield temporary
        if not path.exists():
            temporary.replace(path)
            return
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                target = path / file.relative_to(temporary)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    # A whole path: `..` and the empty path have no name. What a link leads to is replaced, not the link.
    target = Path(os.path.realpath(path))
    temporary = target.parent / f".{target.name[:NAME_SHOWN]}.{os.getpid()}.tmp"
    try:
        yield temporary
    except OSError as error:
        raise UsageError(f"-o {path}: cannot be written: {error.strerror or error}") from None
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _require_place(path: Path) -> None:
    """Raise UsageError if the path has a part that no folder could have, or lies in no folder."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise UsageError(f"-o {path}: cannot be written: {error.strerror}") from None
    if not path.parent.is_dir():
        raise UsageError(f"-o {path}: there is no folder {path.parent}; make it first")


@contextmanager
def exclusive(lock: Path, message: str) -> Iterator[None]:
    """Hold a lock on the file `lock`. Raises ServiceError with `message` if another process holds it."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceError(message) from None
        yield
