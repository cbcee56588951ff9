"""The command line in a folder and a home of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from producer.cli import main
from storage.database import Database


@contextmanager
def command_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The ledger that commands open; `folder` is the working directory."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("STARMILL_HOME", str(folder / "home"))
    monkeypatch.delenv("STARMILL_DATABASE_URL", raising=False)
    opened = Database(f"sqlite:///{folder / 'home' / 'ledger.db'}")
    opened.migrate()
    yield opened
    opened.close()


def starmill(*arguments: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)
