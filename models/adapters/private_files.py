"""Files and folders that hold prompts, answers, keys and passwords belong to one user alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What group and others may not do with anything that is made: files are 0600, folders 0700.
PRIVATE_UMASK = 0o077


def private_folder(path: Path) -> Path:
    """Make the folder and its missing parents, each for its owner alone, and return it."""
    if not path.is_dir():
        private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextmanager
def private_files() -> Iterator[None]:
    """Make what the block writes, and processes that it starts, readable by its owner alone."""
    before = os.umask(PRIVATE_UMASK)
    try:
        yield
    finally:
        os.umask(before)
