"""Read the source code that is installed beside Starmill, to count which names it uses."""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path

MAX_FILES = 4_000
LEFT_OUT = {"site-packages", "test", "tests", "testing"}


def installed_source(passages: int) -> Iterator[str]:
    """Yield the text of modules of the standard library and of the installed packages, without tests.

    Of each at most 4,000 files are read, and no more than there are passages. Which ones depends on what is
    installed alone: those whose paths have the smallest hashes.
    """
    paths = sysconfig.get_paths()
    for root in (paths["stdlib"], paths["purelib"]):
        for path in _modules(Path(root))[: min(passages, MAX_FILES)]:
            try:
                yield path.read_text(encoding="utf-8", errors="ignore")
            except OSError:
                continue


def _modules(root: Path) -> list[Path]:
    """Return Python files below `root` in the order of the hashes of their paths."""
    names = [path.relative_to(root) for path in root.rglob("*.py")]
    chosen = [name for name in names if LEFT_OUT.isdisjoint(name.parts)]
    return [root / name for name in sorted(chosen, key=_hash)]


def _hash(name: Path) -> bytes:
    return hashlib.sha256(name.as_posix().encode("utf-8", "surrogatepass")).digest()
